"""Everything that is checked and made before a GPU is taken: model, data, and what the spec leaves open. No torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_trainer import prepared
from finetune_trainer.prepare import plan
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.build import Recipe, build
from finetune_trainer.prepare.fingerprint import fingerprint
from finetune_trainer.prepare.model import load_tokenizer, resolve
from finetune_trainer.prepare.read import find_objects
from finetune_trainer.prepare.validate import check_published, check_rejected, check_splits
from finetune_trainer.publish.manifest import read_published
from finetune_trainer.storage import Storage
from finetune_trainer.tasks import task_for


def prepare(
    snapshot: Snapshot, *, storage: Storage, scratch: Path, report: Callable[[Progress], None], cpuinfo: str
) -> Prepared:
    """Carry out the prepare stage; data that was prepared before from the same inputs is used again.

    `scratch` is an empty local folder, `cpuinfo` the text of /proc/cpuinfo or empty. Raises StageFailed,
    StoreUnavailable.
    """

    def progressed(activity: Activity, rows: int) -> None:
        report(Progress(stage=Stage.PREPARE, attempt=snapshot.attempt, activity=activity, rows_read=rows))

    spec = snapshot.spec
    progressed(Activity.READING, 0)
    model = resolve(storage, spec.model.uri)
    plan.check_lengths(spec.training, model.config)
    tokenizer = load_tokenizer(storage, model, scratch / "tokenizer")
    objects = find_objects(storage, spec.data.sources)
    with blame("spec.data.sources"):
        prints = [(stored.uri, fingerprint(storage, stored)) for stored in objects]
    digest = plan.data_digest(spec, prints, model.tokenizer_digest)
    recipe = Recipe(digest=digest, spec=spec, objects=objects, task=task_for(spec.task), tokenizer=tokenizer)
    cache_field = "spec.output.uri" if spec.data.cache_uri is None else "spec.data.cacheUri"
    data_uri = f"{spec.data.cache_uri or spec.output.uri}/prepared/{digest}"
    with blame(cache_field):
        manifest = prepared.read_manifest(storage, data_uri)
    if manifest is None:
        manifest = build(
            recipe, scratch / "prepared", storage=storage, spill_folder=scratch / "spill", progressed=progressed
        )
        with blame(cache_field):
            prepared.commit(storage, data_uri, manifest, scratch / "prepared")
    check_rejected(manifest, spec.data, data_uri)
    check_splits(manifest, spec.data.split)
    lengths = prepared.fetch_lengths(storage, data_uri, manifest, "train", scratch / "lengths")
    resolved = plan.resolve(spec, lengths, cpuinfo=cpuinfo)
    run = plan.run_digest(spec, resolved, model_digest=model.digest, data_digest=digest)
    with blame("spec.output.uri"):
        published = read_published(storage, spec.output.uri, run)
    check_published(published, spec.output)
    return Prepared(
        run=run,
        model_digest=model.digest,
        data_uri=data_uri,
        data_digest=digest,
        data=manifest.summary,
        resolved=resolved,
        published=published,
    )
