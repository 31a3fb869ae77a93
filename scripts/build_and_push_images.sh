#!/usr/bin/env bash
# Builds the applications' images and pushes them to a registry: see usage below.
set -euo pipefail

IMAGES=(dagster-weather-app weather-products-api)

usage() {
  cat <<'EOF'
Usage: scripts/build_and_push_images.sh [options] <registry> <tag>

Builds dagster-weather-app and weather-products-api from apps/docker and pushes them as <registry>/<image>:<tag>.
For an Amazon ECR registry (<account>.dkr.ecr.<region>.amazonaws.com) it logs in first, with the AWS CLI's credentials.

  <registry>             such as 123456789012.dkr.ecr.us-east-2.amazonaws.com or localhost:5000
  <tag>                  such as v2.0; `latest` is refused for prod: a tag must name one image for ever

Options:
  --environment NAME     dev (default) or prod; also from the variable ENVIRONMENT
  --engine NAME          docker or podman (default: the first that is installed and answers); also from ENGINE
  --platform LIST        such as linux/amd64 or linux/arm64 (default: this machine's); a list with commas makes one
                         image for several: with docker this needs buildx, and the image is pushed as it is built
  --image NAME           only this image; may be given twice
  --python-image REF     base image of the builds, instead of the digest in the Dockerfiles
  --runtime-image REF    base image of the API's last stage, instead of the digest in its Dockerfile
  --build-option OPTION  one more option for the engine's build command; may be given several times
  --no-push              build only
  --dry-run              print the commands, run none
  -h, --help             this text

Exit codes: 0 done, 1 a build or push failed, 64 wrong usage, 69 a tool is missing or does not answer.
EOF
}

die() { echo "build_and_push_images.sh: $2" >&2; exit "$1"; }
usage_error() { echo "build_and_push_images.sh: $1; see --help" >&2; exit 64; }

environment=${ENVIRONMENT:-dev} engine=${ENGINE:-} platform='' push=1 dry_run=''
wanted=() build_args=() arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --no-push) push='' ;;
    --dry-run) dry_run=1 ;;
    --environment | --engine | --platform | --image | --python-image | --runtime-image | --build-option)
      [ $# -ge 2 ] || usage_error "$1 needs a value"
      case "$1" in
        --environment) environment=$2 ;;
        --engine) engine=$2 ;;
        --platform) platform=$2 ;;
        --image) wanted+=("$2") ;;
        --python-image) build_args+=(--build-arg "PYTHON_IMAGE=$2") ;;
        --runtime-image) build_args+=(--build-arg "RUNTIME_IMAGE=$2") ;;
        --build-option) build_args+=("$2") ;;
      esac
      shift ;;
    -*) usage_error "unknown option $1" ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
[ ${#arguments[@]} -eq 2 ] || usage_error "a registry and a tag are needed, got ${#arguments[@]} arguments"
registry=${arguments[0]%/} tag=${arguments[1]}

case "$environment" in dev | prod) ;; *) usage_error "--environment is \"$environment\"; dev or prod is possible" ;; esac
case "$engine" in "" | docker | podman) ;; *) usage_error "--engine is \"$engine\"; docker or podman is possible" ;; esac
[[ $registry =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*$ ]] ||
  usage_error "registry \"$registry\" is no host[:port][/path] (without https://)"
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
  usage_error "tag \"$tag\" may have letters, digits, _ . - and at most 128 of them"
[ "$environment" != prod ] || [ "$tag" != latest ] ||
  usage_error 'tag "latest" is refused for prod: use a tag that names one build, such as v2.0'
for image in "${wanted[@]}"; do
  [[ " ${IMAGES[*]} " == *" $image "* ]] || usage_error "--image is \"$image\"; possible: ${IMAGES[*]}"
done
[ ${#wanted[@]} -gt 0 ] || wanted=("${IMAGES[@]}")

if [ -z "$dry_run" ]; then
  for candidate in ${engine:-docker podman}; do
    if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then answers=$candidate; break; fi
  done
  [ -n "${answers:-}" ] ||
    die 69 "no container engine answers (tried: ${engine:-docker, podman}); start it, or see apps/README.md for images without one"
  engine=$answers
fi
engine=${engine:-docker}

run() {
  if [ -n "$dry_run" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
revision=$(git -C "$top" rev-parse HEAD 2>/dev/null || echo unknown)
if [ "$revision" != unknown ] && [ -n "$(git -C "$top" status --porcelain -- apps)" ]; then
  [ "$environment" != prod ] || die 1 "apps/ has changes that are not committed; an image for prod must be of one commit"
  revision+=-dirty
fi

if [ -n "$push" ] && [[ $registry =~ ^[0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?(/|$) ]]; then
  region=${BASH_REMATCH[1]} host=${registry%%/*}
  echo "logging in to $host" >&2
  if [ -n "$dry_run" ]; then
    echo "aws ecr get-login-password --region $region | $engine login --username AWS --password-stdin $host"
  else
    command -v aws >/dev/null || die 69 "the AWS CLI is needed to log in to $host"
    # by a pipe: the password is in no argument and no variable
    aws ecr get-login-password --region "$region" | "$engine" login --username AWS --password-stdin "$host" >&2 ||
      die 1 "cannot log in to $host; check: aws sts get-caller-identity"
  fi
fi

for image in "${wanted[@]}"; do
  name=$registry/$image:$tag
  common=(--file "$top/apps/docker/$image.Dockerfile" --build-arg "VERSION=$tag" --build-arg "REVISION=$revision"
    "${build_args[@]}")
  case "$engine,$platform" in
    docker,*,*)
      output=(--push)
      [ -n "$push" ] || output=(--output type=cacheonly) # several platforms cannot be loaded into docker's own store
      command=(docker buildx build --platform "$platform" "${output[@]}" --tag "$name" "${common[@]}" "$top")
      pushing=() ;;
    podman,*,*)
      command=(podman build --platform "$platform" --manifest "$name" "${common[@]}" "$top")
      pushing=(podman manifest push --all "$name" "docker://$name") ;;
    *)
      command=("$engine" build ${platform:+--platform "$platform"} --tag "$name" "${common[@]}" "$top")
      pushing=("$engine" push "$name") ;;
  esac
  echo "building $name" >&2
  run "${command[@]}" || die 1 "the build of $image failed; the lines above say why"
  if [ -n "$push" ] && [ ${#pushing[@]} -gt 0 ]; then
    echo "pushing $name" >&2
    run "${pushing[@]}" || die 1 "the push of $name failed; does the repository $image exist in the registry, and may you write to it?"
  fi
done
if [ -n "$push" ]; then verb=pushed; else verb=built; fi
if [ -n "$dry_run" ]; then verb="not $verb (dry run)"; fi
printf "$verb %s\n" "${wanted[@]/#/$registry/}" | sed "s/\$/:$tag/"
