from typing import Any


def refused() -> Any:
    """What is said where no C compiler is."""
    import os

    from finetune_trainer.compilation import compile_blocks
    from finetune_trainer.failures import StageFailed

    os.environ.pop("CC", None)
    os.environ["PATH"] = "/nowhere"
    try:
        compile_blocks(None)
    except StageFailed as failed:
        return [failed.exit_code, failed.failure.reason, failed.failure.field]


def test_without_a_c_compiler_compiling_is_refused_by_the_name_of_its_field(preloaded):
    assert preloaded.run(refused) == [[78, "CannotCompile", "spec.memory.compile"]]
