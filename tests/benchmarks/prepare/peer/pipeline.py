"""The pipeline that people have today: datasets, ftfy, MinHash in the manner of text-dedup, and TRL's tokenization.

python pipeline.py convert TOKENIZER_MODEL FOLDER      the tokenizer as Hugging Face's, once
python pipeline.py prepare RAW_FOLDER TOKENIZER OUT    all steps; prints what each cost as JSON
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the processes take all cores

import datasets
import ftfy
import numpy as np
import xxhash

CORES = len(os.sched_getaffinity(0))
MAX_LENGTH = 4096
PERMUTATIONS = 128
BANDS, BAND_ROWS = 9, 13  # what text-dedup's optimal_param gives for 128 permutations and a threshold of 0.8
NGRAM = 5
FEWEST_WORDS = 20
SEED = 42
MERSENNE_PRIME = np.uint64((1 << 61) - 1)
MAX_HASH = np.uint64((1 << 32) - 1)
_RNG = np.random.RandomState(SEED)
A = _RNG.randint(1, (1 << 61) - 1, size=PERMUTATIONS, dtype=np.uint64)
B = _RNG.randint(0, (1 << 61) - 1, size=PERMUTATIONS, dtype=np.uint64)
NON_ALPHA = re.compile(r"\W", re.UNICODE)

# Mistral's own for v3, with the marks that TRL needs for the loss mask.
CHAT_TEMPLATE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}
{%- else %}{% set system = none %}{% set turns = messages %}{% endif %}
{%- for message in turns %}
{%- if message['role'] == 'user' %}
{%- if loop.index0 >= turns|length - 2 and system is not none %}
{{- '[INST] ' + system + '\n\n' + message['content'] + '[/INST]' }}
{%- else %}{{ '[INST] ' + message['content'] + '[/INST]' }}{% endif %}
{%- else %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}"""

COSTS: dict[str, dict[str, float]] = {}


@contextmanager
def step(name: str):
    start, before = time.monotonic(), _cpu()
    yield
    COSTS[name] = {"seconds": time.monotonic() - start, "cpu_seconds": _cpu() - before}


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def repair(batch):
    if "messages" in batch:
        return {
            "messages": [
                [{"role": turn["role"], "content": ftfy.fix_text(turn["content"]).strip()} for turn in row]
                for row in batch["messages"]
            ]
        }
    return {"text": [ftfy.fix_text(text).strip() for text in batch["text"]]}


def texts_of(batch):
    if "messages" in batch:
        return ["\n".join(turn["content"] for turn in row if turn["role"] != "system") for row in batch["messages"]]
    return batch["text"]


def exact_keys(batch):
    rows = [json.dumps(row) for row in batch["messages"]] if "messages" in batch else batch["text"]
    return {"key": [hashlib.md5(row.encode(), usedforsecurity=False).digest() for row in rows]}


def signatures(batch):
    return {"signature": [signature(text) for text in texts_of(batch)]}


def signature(text):
    words = [word for word in NON_ALPHA.split(text.lower()) if word]
    if len(words) < FEWEST_WORDS:
        return []
    shingles = {" ".join(words[start : start + NGRAM]).encode() for start in range(len(words) - NGRAM + 1)}
    hashes = np.array([xxhash.xxh3_64_intdigest(shingle) & 0xFFFFFFFF for shingle in shingles], dtype=np.uint64)
    minima = (((hashes[:, None] * A + B) % MERSENNE_PRIME) & MAX_HASH).min(axis=0).astype(np.uint32)
    return [minima[start : start + BAND_ROWS].tobytes() for start in range(0, BANDS * BAND_ROWS, BAND_ROWS)]


class UnionFind:
    def __init__(self):
        self.parent = {}

    def find(self, x):
        root = x
        while self.parent.setdefault(root, root) != root:
            root = self.parent[root]
        while self.parent[x] != root:
            self.parent[x], x = root, self.parent[x]
        return root

    def union(self, x, y):
        one, other = self.find(x), self.find(y)
        self.parent[max(one, other)] = min(one, other)


def without_exact_duplicates(rows):
    keys = rows.map(exact_keys, batched=True, num_proc=CORES, remove_columns=rows.column_names)
    seen, kept = set(), []
    for number, key in enumerate(keys["key"]):
        if key not in seen:
            seen.add(key)
            kept.append(number)
    return rows.select(kept)


def without_near_duplicates(rows):
    embedded = rows.map(signatures, batched=True, num_proc=CORES, remove_columns=rows.column_names)
    tables = [defaultdict(list) for _ in range(BANDS)]
    number = 0
    for batch in embedded.iter(batch_size=10_000):
        for bands in batch["signature"]:
            for table, band in zip(tables, bands, strict=False):
                table[band].append(number)
            number += 1
    union = UnionFind()
    for table in tables:
        for cluster in table.values():
            for other in cluster[1:]:
                union.union(cluster[0], other)
    return rows.select([number for number in range(len(rows)) if union.find(number) == number])


def prepare(raw, tokenizer_folder, out):
    datasets.disable_progress_bars()
    with step("imports"):
        from transformers import AutoTokenizer
        from trl import SFTConfig, SFTTrainer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with step("read"):
        rows = datasets.load_dataset(
            "json", data_files=sorted(map(str, Path(raw).glob("*.jsonl"))), split="train", num_proc=CORES
        )
    read = len(rows)
    with step("repair"):
        rows = rows.map(repair, batched=True, num_proc=CORES)
    with step("exact duplicates"):
        rows = without_exact_duplicates(rows)
    with step("near duplicates"):
        rows = without_near_duplicates(rows)
    with step("split"):
        first = rows.train_test_split(test_size=0.2, seed=SEED)
        second = first["test"].train_test_split(test_size=0.5, seed=SEED)
        splits = {"train": first["train"], "validation": second["train"], "test": second["test"]}
    chat = "messages" in rows.column_names
    # What SFTTrainer does to a dataset when it is made, without the model that making one needs.
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, chat_template=CHAT_TEMPLATE if chat else None, completion_only_loss=False
    )
    config = SFTConfig(
        output_dir=f"{out}/trainer",
        dataset_num_proc=CORES,
        max_length=MAX_LENGTH,
        assistant_only_loss=chat,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    with step("tokenize"):
        for name, split in splits.items():
            splits[name] = SFTTrainer._prepare_dataset(trainer, split, tokenizer, config, False, None, name)
    with step("write"):
        datasets.DatasetDict(splits).save_to_disk(f"{out}/data")  # with processes it would import torch again in each
    print(
        json.dumps(
            {"rows": read, "kept": {name: len(split) for name, split in splits.items()}, "steps": COSTS},
        )
    )


def convert(model, folder):
    from transformers import LlamaTokenizer

    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder) / "tokenizer.model"
    target.write_bytes(Path(model).read_bytes())
    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)


if __name__ == "__main__":
    {"convert": convert, "prepare": prepare}[sys.argv[1]](*sys.argv[2:])
