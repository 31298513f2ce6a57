import gc
import sys
from typing import Any


def imported_again() -> dict[str, Any]:
    """In a process that has imported training as a rank does."""
    import importlib.util

    from finetune_trainer.rank import import_training

    main = import_training()
    return {
        "main": f"{main.__module__}.{main.__name__}",
        "collects garbage": gc.isenabled(),
        "found": [importlib.util.find_spec(name) is not None for name in ("mlflow", "boto3")],
        "blocked": [name for name, module in sys.modules.items() if module is None],
    }


def test_importing_in_a_hurry_leaves_nothing_switched_off_behind(preloaded):
    assert preloaded.run(imported_again) == [
        {"main": "finetune_trainer.train.main", "collects garbage": True, "found": [True, True], "blocked": []}
    ]
