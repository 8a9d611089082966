// Checks the Kubernetes manifests as a cluster would: builds each folder with kustomize, decodes every object strictly, and
// runs the code by which the API server takes an object in: defaults, validation, warnings, Pod Security. Then what holds
// of ours beyond that: references that lead somewhere, what every process must have, and who may talk to whom.
//
//	kubernetes ROOT FOLDER...
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: kubernetes ROOT FOLDER...")
		os.Exit(2)
	}
	root, failed := os.Args[1], false
	for _, folder := range os.Args[2:] {
		set, problems := build(filepath.Join(root, folder))
		if len(problems) == 0 {
			problems = append(problems, set.taken()...)
			problems = append(problems, set.references(filepath.Join(root, "schema/pipelines"))...)
			problems = append(problems, set.processes(filepath.Join(root, "docker-compose.yml"))...)
			asked, wrong := set.network()
			problems = append(problems, wrong...)
			fmt.Printf("kubernetes: %s: %d objects, %d connections asked about\n", folder, len(set.objects), asked)
		}
		for _, problem := range problems {
			fmt.Fprintf(os.Stderr, "kubernetes: %s: %s\n", folder, problem)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}
