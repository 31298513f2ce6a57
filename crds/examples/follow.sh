#!/usr/bin/env bash
# Applies a manifest of one FineTuneJob and prints what kubectl shows of it, from the first second to the last:
#
#   crds/examples/follow.sh job.yaml
#
# Ctrl-C ends the watching only; the job goes on.
set -euo pipefail
manifest=${1:?the manifest of a FineTuneJob}

say() { printf '\n$ %s\n' "$*"; }
show() { say "$@" && "$@"; }

show kubectl apply --filename="$manifest"
read -r namespace name < <(kubectl get --filename="$manifest" --output=jsonpath='{.metadata.namespace} {.metadata.name}{"\n"}')
job=(--namespace="$namespace" finetunejob "$name")

say kubectl get "${job[@]}" --watch
kubectl get "${job[@]}" --watch &
watch=$!
trap 'kill "$watch" 2> /dev/null || true' EXIT
kubectl wait "${job[@]}" --for=condition=Finished --timeout=-1s > /dev/null # -1s: a week
sleep 1 # the watch has its last line to print
kill "$watch"

show kubectl wait "${job[@]}" --for=condition=Finished
show kubectl get "${job[@]}" --output=wide
show kubectl describe "${job[@]}"
