"""The images that the cluster's tests need, built from their Dockerfiles."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from binaries import VERSITYGW, ensure
from images import base
from images.store import Store
from node import packages

_ROOT = Path(__file__).parents[3]
_COMMANDS = ("buildah", "debootstrap", "skopeo")
"""Each in the Debian package of its name."""
_STEP = re.compile(r"^--> (?:Using cache )?([0-9a-f]{11,64})$", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    name: str
    dockerfile: Path
    context: Path


OPERATOR = Recipe("localhost/finetune-operator:test", _ROOT / "operator" / "Dockerfile", _ROOT)
TRAINER = Recipe("localhost/finetune-trainer:test", _ROOT / "trainer" / "Dockerfile", _ROOT)


def s3_server(folder: Path) -> Recipe:
    """`folder` has the binary of the S3 server."""
    return Recipe("localhost/finetune-s3:test", Path(__file__).with_name("s3.Dockerfile"), folder)


def build(store: Store, env: Mapping[str, str], say: Callable[[str], None]) -> tuple[str, ...]:
    """Build what has changed, forget what that replaced; the names of all images.

    Raises:
        CommandFailed, NoBinaries, BuildFailed, NoNode: what could not be built or installed, and why.
    """
    absent = [command for command in _COMMANDS if shutil.which(command, path=env.get("PATH")) is None]
    packages.install(absent, env, say)
    recipes = (OPERATOR, TRAINER, s3_server(ensure(VERSITYGW, VERSITYGW.commands, env, say)))
    with store.locked():
        if not any(base.NAME in names for names in store.images().values()):
            say(f"making {base.NAME} with debootstrap, once for this machine (minutes)")
            base.make(store)
        steps: set[str] = set()
        for recipe in recipes:
            started = time.monotonic()
            steps.update(_STEP.findall(store.buildah(*arguments(recipe, env))))
            say(f"{recipe.name} built in {time.monotonic() - started:.0f} s")
        for image in replaced(store.images(), steps):
            store.buildah("rmi", image)
    return tuple(recipe.name for recipe in recipes)


def arguments(recipe: Recipe, env: Mapping[str, str]) -> tuple[str, ...]:
    """Of buildah. Where the environment names certificates, the build trusts them, too."""
    lent: tuple[str, ...] = ()
    if certificates := env.get("SSL_CERT_FILE"):
        lent = (
            f"--secret=id=ca,src={certificates}",
            "--build-arg=PIP_CERT=/run/secrets/ca",
            "--build-arg=SSL_CERT_FILE=/run/secrets/ca",
        )
    files = (f"--file={recipe.dockerfile}", f"--tag={recipe.name}", str(recipe.context))
    return ("build", "--layers", "--pull-never", *lent, *files)


def replaced(images: Mapping[str, Collection[str]], steps: Collection[str]) -> list[str]:
    """Ids of the images without a name that no build took a step from: each keeps its layers on the disk.

    `steps` are ids, or how they begin.
    """
    return [image for image, names in images.items() if not names and not image.startswith(tuple(steps))]
