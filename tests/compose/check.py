"""What must hold of docker-compose.yml beyond its form. Reads the resolved file (docker-compose config) from standard
input, and the files themselves for what resolving hides.

    docker-compose ... config | check.py ROOT
"""

import re
import sys
from pathlib import Path

import yaml

ONE_SHOT = {"migrate", "scylla-users", "bucket"}
SERVERS = {"kafka", "scylla", "minio", "clickhouse", "prometheus", "grafana"}
ROLES = {"ingest", "speed", "batch", "serve"}
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN")


def definition_variables(root):
    """The variables of the definitions, with their defaults."""
    texts = [path.read_text() for path in sorted((root / "schema/pipelines").glob("*.toml"))]
    return {name: default for text in texts for name, default in re.findall(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}", text)}


def problems(root, services):
    for missing in (SERVERS | ROLES | ONE_SHOT) - services.keys():
        yield f"there is no service {missing}"
    for name, service in services.items():
        test = service.get("healthcheck", {}).get("test")
        if name not in ONE_SHOT and not test:
            yield f"{name}: no health check"
        if service.get("restart") not in ({"on-failure"} if name in ONE_SHOT else {"unless-stopped", "always"}):
            yield f"{name}: restart is {service.get('restart')}"
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        if not {"cpus", "memory"} <= limits.keys():
            yield f"{name}: no limits of CPU and memory"
        image = service.get("image", "")
        if "build" not in service and (":" not in image or image.endswith(":latest")):
            yield f"{name}: image {image} has no version"
        for other, how in (service.get("depends_on") or {}).items():
            want = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            if other not in services:
                yield f"{name} depends on {other}, which is not there"
            elif how.get("condition") != want:
                yield f"{name} depends on {other} with {how.get('condition')}, not {want}"
        for port in service.get("ports") or []:
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: port {port} is open to everybody"
        for volume in service.get("volumes") or []:
            source = str(volume).split(":")[0]
            if source.startswith("/") and not Path(source).exists():
                yield f"{name}: {source} is not there"
    for role in ROLES & services.keys():
        if "migrate" not in (services[role].get("depends_on") or {}):
            yield f"{role} does not wait for migrate"
        if services[role].get("command") != [role]:
            yield f"{role} runs {services[role].get('command')}"

    # Every process that reads definitions has all of their variables, and what an absent one is they say alone: it is empty here.
    variables = definition_variables(root)
    if len(variables) < 10:
        yield f"the definitions have only these variables: {sorted(variables)}"
    for name in sorted((ROLES | {"migrate", "embedded"}) & services.keys()):
        environment = services[name].get("environment") or {}
        for variable in sorted(variables):
            if variable not in environment:
                yield f"{name}: lacks {variable}, which a definition of schema/pipelines reads"
            elif environment[variable] not in ("", None):
                yield f"{name}: {variable} is {environment[variable]}: its default belongs to the definition"

    # Passwords: required variables only, and values only in the development profile. A secret of a definition may be absent.
    text = (root / "docker-compose.yml").read_text()
    for variable, operator, default in re.findall(r"\$\{([A-Z0-9_]+)(:?[-?])?([^}]*)", text):
        absent = variable in variables and (operator, default) == (":-", "")
        if SECRET.search(variable) and operator != ":?" and not absent:
            yield f"docker-compose.yml: {variable} is a secret and not required with :?"
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        if SECRET.search(key) and re.fullmatch(r"[A-Z0-9_]+", key) and not value.strip().startswith("${"):
            yield f"docker-compose.yml: {key} has a value"
    for line in (root / ".env.example").read_text().splitlines():
        key, _, value = line.partition("=")
        if not line.startswith("#") and SECRET.search(key) and value:
            yield f".env.example: {key} has a value"
    toml = (root / "infra/compose/tideline.toml").read_text()
    for key, value in re.findall(r'^"?([\w.]+)"?\s*=\s*"([^"]*)"', toml, re.M):
        if re.search(r"password|secret|access_key", key) and not re.fullmatch(r"\$\{[A-Z0-9_]+\}", value):
            yield f"infra/compose/tideline.toml: {key} is not taken from the environment alone"


def main():
    root = Path(sys.argv[1])
    found = list(problems(root, yaml.safe_load(sys.stdin)["services"]))
    for problem in found:
        print(f"compose: {problem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
