"""How fast each version encodes chat rows on one core, against mistral-common's `encode_chat_completion`.

    PYTHONPATH=tests/kit:tests/benchmarks/prepare python tests/benchmarks/encoding.py [--rows 2000]

Seconds are of the process's CPU, so that what else runs matters little. "Expanded" is what it costs to train every
answer behind the prompt that it will be given: tokens of all documents in those of one document a row.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

from corpus import rows

from conversations import TOOLS
from finetune_api.spec import InstructionTask
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers.mistral import MistralChatTokenizer
from finetune_trainer.tokenizers.mistral_files import encoder_for, read_sentencepiece, read_tekken
from finetune_trainer.tokenizers.mistral_reference import Reference
from mistral_files import RELABELLED, WHEEL_FILES, wheel_file, write_relabelled


def seconds(work: Callable[[Messages], Any], data: Sequence[Messages]) -> float:
    start = process_time()
    for messages in data:
        work(messages)
    return process_time() - start


def measure(version: str, data: Sequence[Messages], folder: Path) -> str:
    path = write_relabelled(folder, version) if version in RELABELLED else wheel_file(version)
    tokenizer = (read_tekken if path.suffix == ".json" else read_sentencepiece)(path)
    ours, published = MistralChatTokenizer(tokenizer), Reference(encoder_for(tokenizer))
    documents = [ours.encode_messages(messages) for messages in data]
    tokens = sum(len(document.ids) for row in documents for document in row)
    last = sum(len(row[-1].ids) for row in documents)
    theirs = seconds(published.encode, data)
    mine = seconds(ours.encode_messages, data)
    with_tools = [(TOOLS, *messages) for messages in data] if version != "v1" else []
    expanded = [[len(document.ids) for document in ours.encode_messages(messages)] for messages in with_tools]
    ratio = sum(map(sum, expanded)) / sum(row[-1] for row in expanded) if expanded else 1
    return (
        f"| {version} | {len(data) / theirs:,.0f} | {len(data) / mine:,.0f} | {theirs / mine:.1f} | "
        f"{tokens / mine / 1e6:.2f} M | {tokens / last:.2f} | {ratio:.2f} |"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=2000)
    task = Instruction(InstructionTask())
    data = [task.parse(row) for row in islice(rows("chat"), arguments.parse_args().rows)]
    print("| version | rows/s, published | rows/s | times | tokens/s | expanded | with tools |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for version in (*WHEEL_FILES, *RELABELLED):
            print(measure(version, data, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
