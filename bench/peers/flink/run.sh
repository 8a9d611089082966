#!/usr/bin/env bash
# Apache Flink (embedded MiniCluster, Table/SQL) on topic `tweets`: windows of 5 minutes sliding by 1, per $SYMBOL, counts and
# the mean and deviation of the text's length (job A); 10 s windows by user (job B).
#   run.sh MODE JOB      MODE: cold (a fresh JVM; wall = executeSql until the job has finished), warm (5 submissions in one
#                        JVM: runs 2 to 5 are JIT-warm), check (prints the sums of the answers; not to be timed).   JOB: A or B
# KAFKA=host:port   EXPECTED=records in the topic   FLINK=2.2.0 picks another version   W=folder of jars, classes, state
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work="${W:-$HOME/.cache/tideline-peers/flink}"
version="${FLINK:-2.3.0}"
lib="$work/lib-$version" classes="$work/cls-$version"
if [ ! -e "$lib/.complete" ]; then
  mvn -B -q -f "$here/pom.xml" -Dflink.version="$version" dependency:copy-dependencies -DoutputDirectory="$lib" -DincludeScope=runtime >&2
  touch "$lib/.complete"
fi
rm -rf "$classes" && mkdir -p "$classes" && cp -r "$here"/src/main/resources/* "$classes/"
javac -proc:none -cp "$lib/*" -d "$classes" "$here"/src/main/java/peers/*.java
options=()
case $1 in
  cold) ;;
  warm) options+=(-Drepeat=5) ;;
  check) options+=(-Dcheck=true) ;;
  *) echo "usage: run.sh cold|warm|check A|B" >&2; exit 2 ;;
esac
java -Xmx4g -Xms4g --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
  --add-opens=java.base/java.net=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED -Dwork="$work" \
  -Dkafka="${KAFKA:-127.0.0.1:9092}" -Dexpected="${EXPECTED:-968260}" "${options[@]}" -cp "$classes:$lib/*" peers.FlinkPeer "$2" 2>&1 |
  grep -E 'RESULT|CHECK|Exception'
