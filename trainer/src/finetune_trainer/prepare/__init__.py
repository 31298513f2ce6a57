"""Everything that is checked and made before a GPU is taken: model, data, and what the spec leaves open. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from finetune_api.contract import ExitCode, Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_api.spec import Source, Spec, Split
from finetune_trainer import prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import plan
from finetune_trainer.prepare.barrier.assignment import ASSIGNMENT_FILE, Assignment, read_assignment
from finetune_trainer.prepare.barrier.benchmarks import FIELD as BENCHMARKS_FIELD
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.build import Recipe, build
from finetune_trainer.prepare.fingerprint import fingerprints
from finetune_trainer.prepare.model import BaseModel, load_tokenizer, resolve
from finetune_trainer.prepare.model.architecture import shape_of
from finetune_trainer.prepare.model.initial import resolve_adapter
from finetune_trainer.prepare.read import RawObject, find_objects
from finetune_trainer.prepare.report import PAGE_FILE
from finetune_trainer.prepare.scratch import work_folder
from finetune_trainer.prepare.validate import (
    check_labels,
    check_published,
    check_rejected,
    check_splits,
    check_train_rows,
    check_watched,
)
from finetune_trainer.prepare.workers import get_ready
from finetune_trainer.prepared import Manifest
from finetune_trainer.publication import read_published
from finetune_trainer.storage import Storage
from finetune_trainer.tasks import task_for

Report = Callable[[Progress], None]
Processes = Callable[[int], int]
"""How many work on so many bytes of raw data."""


def alone(_size: int) -> int:
    """One, the process that calls."""
    return 1


def prepare(
    snapshot: Snapshot,
    *,
    storage: Storage,
    scratch: Path,
    report: Report,
    cpuinfo: str,
    processes: Processes = alone,
) -> Prepared:
    """Carry out the prepare stage; data that was prepared before from the same inputs is used again.

    `scratch` is a local folder, `cpuinfo` the text of /proc/cpuinfo or empty. Raises StageFailed, KeysRefused or
    StoreUnavailable.
    """
    spec, try_to_write = snapshot.spec, _writing(storage)
    with work_folder(scratch) as local:
        model = resolve(storage, spec.model.uri)
        shape = shape_of(model.config)
        plan.check_method(spec, model.config)
        plan.check_memory(spec, shape)
        adapter_digest = _initial_adapter_digest(spec, model, storage)
        data_uri, manifest = _checked_data(snapshot, model, storage, local, try_to_write, report, processes)
        lengths = prepared.fetch_lengths(storage, data_uri, manifest, "train", local / "lengths")
        with _shown_by(data_uri):
            resolved = plan.resolve(spec, lengths, cpuinfo=cpuinfo)
    run = plan.run_digest(
        spec, resolved, model_digest=model.digest, data_digest=manifest.digest, adapter_digest=adapter_digest
    )
    with blame("spec.output.uri"):
        published = read_published(storage, spec, run)
        if published is None:
            try_to_write(spec.output.uri)
    if published is None:
        plan.check_memory(spec, shape, resolved)
    check_published(published, spec.output)
    return Prepared(
        run=run,
        model_digest=model.digest,
        adapter_digest=adapter_digest,
        data_uri=data_uri,
        data_digest=manifest.sha256,
        data=manifest.summary,
        resolved=resolved,
        published=published,
    )


def prepare_data(
    snapshot: Snapshot, *, storage: Storage, scratch: Path, report: Report, processes: Processes = alone
) -> str:
    """Prepare the data alone, with the model's configuration and tokenizer, in the same place. Raises as `prepare`.

    Returns the uri of the page about it.
    """
    with work_folder(scratch) as local:
        model = resolve(storage, snapshot.spec.model.uri, with_weights=False)
        data_uri, _ = _checked_data(snapshot, model, storage, local, _writing(storage), report, processes)
    return f"{data_uri}/{PAGE_FILE}"


def _initial_adapter_digest(spec: Spec, model: BaseModel, storage: Storage) -> str | None:
    lora = spec.method.adapter
    if lora is None:
        return None
    adapter = resolve_adapter(
        storage,
        lora,
        config=model.config,
        model_digest=model.digest,
        target_modules=plan.target_modules(lora),
        labels=task_for(spec.task).labels is not None,
    )
    return None if adapter is None else adapter.digest


def _writing(storage: Storage) -> Callable[[str], None]:
    @cache
    def try_to_write(folder_uri: str) -> None:
        """A store may let us read and not write, or not delete: better told now than after hours of work."""
        uri = f"{folder_uri.rstrip('/')}/.may-be-written"
        storage.write(uri, b"")
        storage.delete(uri)

    return try_to_write


@contextmanager
def _shown_by(data_uri: str) -> Iterator[None]:
    """What fails here is the data's fault, and its page shows why."""
    try:
        yield
    except StageFailed as failed:
        failed.report_uri = f"{data_uri}/{PAGE_FILE}"
        raise


def _checked_data(
    snapshot: Snapshot,
    model: BaseModel,
    storage: Storage,
    local: Path,
    try_to_write: Callable[[str], None],
    report: Report,
    processes: Processes,
) -> tuple[str, Manifest]:
    """Where the data lies, and its manifest. Raises StageFailed when it is not what the spec asks for."""

    def progressed(activity: Activity, rows: int) -> None:
        report(Progress(stage=Stage.PREPARE, attempt=snapshot.attempt, activity=activity, rows_read=rows))

    spec = snapshot.spec
    progressed(Activity.READING, 0)
    plan.check_spec(spec, model.config)
    objects = find_objects(storage, spec.data.sources)
    number = processes(sum(raw.stored.size for raw in objects))
    get_ready(number)
    recipe = _recipe(spec, model, objects, storage, local)
    data_uri, manifest = _data(recipe, storage, local, try_to_write, progressed, number)
    with _shown_by(data_uri):
        check_rejected(manifest, spec.data, data_uri)
        check_splits(manifest, spec.data.split)
        check_watched(manifest, spec.training)
        check_train_rows(manifest, spec.data, data_uri)
        check_labels(manifest, recipe.task.labels)
    return data_uri, manifest


def _recipe(spec: Spec, model: BaseModel, objects: tuple[RawObject, ...], storage: Storage, local: Path) -> Recipe:
    tokenizer_folder = local / "tokenizer"
    tokenizer = load_tokenizer(storage, model, tokenizer_folder)
    benchmarks = find_objects(
        storage,
        [Source(uri=benchmark.uri) for benchmark in spec.data.decontamination.benchmarks],
        within=BENCHMARKS_FIELD,
    )
    with blame("spec.data.sources"):
        prints = fingerprints(storage, [raw.stored for raw in objects])
    with blame(BENCHMARKS_FIELD):
        measures = fingerprints(storage, [raw.stored for raw in benchmarks])
    previous_digest, previous = _previous(spec.data.split, storage, local / "previous")
    return Recipe(
        digest=plan.data_digest(
            spec, objects, prints, model.tokenizer_digest, benchmarks=measures, previous_digest=previous_digest
        ),
        spec=spec,
        objects=objects,
        benchmarks=benchmarks,
        previous=previous,
        task=task_for(spec.task),
        tokenizer=tokenizer,
        tokenizer_folder=tokenizer_folder,
    )


def _previous(split: Split, storage: Storage, local: Path) -> tuple[str | None, Assignment | None]:
    """Digest and assignment of the prepared data whose rows stay where they are. Raises StageFailed."""
    if split.previous_uri is None:
        return None, None
    field = "spec.data.split.previousUri"
    with blame(field):
        manifest = prepared.read_manifest(storage, split.previous_uri)
        files = () if manifest is None else manifest.files
        file = next((file for file in files if file.path == ASSIGNMENT_FILE), None)
        if manifest is None or file is None:
            message = f"{field}: there is no prepared data of this release in {split.previous_uri}"
            raise StageFailed(ExitCode.MISMATCH, "DataAbsent", message, field=field)
        return manifest.digest, read_assignment(prepared.fetch_file(storage, split.previous_uri, file, local))


def _data(
    recipe: Recipe,
    storage: Storage,
    local: Path,
    try_to_write: Callable[[str], None],
    progressed: Callable[[Activity, int], None],
    processes: int,
) -> tuple[str, Manifest]:
    """Where the data lies, and its manifest; built only when it is not there yet."""
    data, output = recipe.spec.data, recipe.spec.output
    uri = f"{data.cache_uri or output.uri}/prepared/{recipe.digest}"
    with blame("spec.output.uri" if data.cache_uri is None else "spec.data.cacheUri"):
        manifest = prepared.read_manifest(storage, uri)
        if manifest is None:
            try_to_write(uri)
            with blame("spec.output.uri"):
                try_to_write(output.uri)
            manifest = build(recipe, local / "data", storage, local / "spill", progressed, processes=processes)
            manifest = prepared.commit(storage, uri, manifest, local / "data")
    return uri, manifest
