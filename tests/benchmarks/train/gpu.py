"""Training a model of Mistral-7B's shape on one GPU: trained tokens/s, MFU, and peak memory beside what was estimated.

    PYTHONPATH=tests/kit python tests/benchmarks/train/gpu.py            on a GPU, about ten minutes
    PYTHONPATH=tests/kit python tests/benchmarks/train/gpu.py --toy      on a CPU: whether it runs, not how fast

Nothing is downloaded: weights are drawn on the device, and every document is as long as a row. LoRA has rank 16 on all
linear layers, dropout 0, no recomputation; blocks are compiled, gradients clipped. The peer is what a plain script of
transformers, PEFT and SDPA makes of the same shape and rows, in this very process. Full fine-tuning is of as many
blocks as the estimate says fit. MFU counts as finetune_api/flops.py does, against the dense bf16 peak.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ours import Learnt

from finetune_api import flops, memory
from finetune_api.spec import ActivationCheckpointing, LoRA, Method, MethodType, Precision
from finetune_api.spec import Training as Recipe

MISTRAL_7B: Final[Mapping[str, Any]] = {
    "model_type": "mistral",
    "vocab_size": 32768,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "sliding_window": None,
    "tie_word_embeddings": False,
}
_SMALL: Final[Mapping[str, Any]] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
_LORA: Final = Method(type=MethodType.LORA, lora=LoRA(rank=16, alpha=32))
_FULL: Final = Method(type=MethodType.FULL)
_WARM, _TIMED = 3, 10
"""Steps."""
_USABLE: Final = 0.95
"""Of the GPU's memory: the rest is the estimate's to be wrong by."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained."""

    name: str
    method: Method
    length: int
    config: Mapping[str, Any]
    rows: int

    def training(self, *, gpu: bool) -> memory.Training:
        from finetune_trainer.prepare.model.architecture import read_config, shape_of

        shape = shape_of(read_config(dict(self.config)))
        return memory.Training(
            shape=shape,
            method=self.method,
            target_modules=tuple(shape.linear_layers) if self.method.adapter else (),
            precision=Precision.BFLOAT16,
            sequence_length=self.length,
            world_size=1,
            gpu=gpu,
            has_vocabulary_head=True,
        )

    @property
    def choice(self) -> memory.Choice:
        none = ActivationCheckpointing.NONE
        return memory.Choice(zero_stage=2, activation_checkpointing=none, micro_batch_size=self.rows)

    def estimated(self, *, gpu: bool = True) -> int:
        """Bytes."""
        return memory.estimate(self.training(gpu=gpu), self.choice).total


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one side."""

    seconds: float
    """Of a step."""
    peak: int
    """Bytes reserved."""


def ours(case: Case, gang: Any) -> Measured:
    """The trainer's own model and engine."""
    import torch

    from finetune_trainer.adapters import Adapter
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine
    from finetune_trainer.model import Computation, load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.prepare.model.architecture import expected_tensors, read_config
    from finetune_trainer.tokens import tokens_of

    def drawn(like: Any, _values: Any) -> Any:
        made = torch.empty(like.shape, dtype=like.dtype, device=gang.device)
        return torch.nn.Parameter(made.normal_(std=0.02) if like.dim() > 1 else made.fill_(1), like.requires_grad)

    adapter = case.method.adapter
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(case.config))
        _write_hollow(Path(folder) / "model.safetensors", expected_tensors(read_config(dict(case.config))))
        model = load_model(
            Path(folder),
            adapter=adapter and Adapter(lora=adapter, target_modules=case.training(gpu=True).target_modules),
            seed=0,
            precision=Precision.BFLOAT16,
            device=gang.device,
            room=drawn,
            head=language.HEAD,
            computation=Computation(compiled=True),
        )
    division = Division(zero_stage=2, micro_batch_size=case.rows, micro_steps=1)
    engine = make_engine(model, gang, training=Recipe(), precision=Precision.BFLOAT16, division=division)
    engine.train()
    vocabulary = int(case.config["vocab_size"])
    documents: Any = Learnt.random([case.length] * case.rows, vocab_size=vocabulary)
    placed = [PlacedRow(number, (number,)) for number in range(case.rows)]

    def step() -> None:
        tokens = tokens_of(documents, placed, gang.device)
        engine.backward(engine(tokens) / len(tokens.targets), scale_wrt_gas=False)
        engine.step()

    return _timed(step, gang.device)


def plain(case: Case, device: Any) -> Measured:
    """A script without us. Raises torch.cuda.OutOfMemoryError."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import MistralConfig, MistralForCausalLM

    settings = {name: value for name, value in case.config.items() if name != "model_type"}
    with device:
        model: Any = MistralForCausalLM._from_config(
            MistralConfig(**settings), dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules=list(case.training(gpu=True).target_modules), task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, lora).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type == "cuda")
    ids = torch.randint(0, case.config["vocab_size"], (case.rows, case.length), device=device)

    def step() -> None:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return _timed(step, device)


def _timed(step: Callable[[], None], device: Any) -> Measured:
    import torch

    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(_WARM):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_TIMED):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / _TIMED
    return Measured(seconds=seconds, peak=torch.cuda.max_memory_reserved() if on_gpu else 0)


def _forget() -> None:
    import torch

    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _write_hollow(path: Path, tensors: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of these shapes whose values are a hole: it takes no room, and nobody reads them."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in tensors.items():
        start = end
        size = 2
        for length in shape:
            size *= length
        end = start + size
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + end)


def cases(available: int | None) -> list[Case]:
    """On a GPU with so many bytes; None: toys."""
    if available is None:
        small = {**MISTRAL_7B, **_SMALL}
        return [
            Case(name="LoRA, toy", method=_LORA, length=64, config=small, rows=2),
            Case(name="Full, toy", method=_FULL, length=64, config=small, rows=1),
        ]
    room = int(_USABLE * available)
    found = []
    for length in (4096, 2048, 8192):
        sizes = [
            Case(name=f"LoRA, {length} tokens", method=_LORA, length=length, config=MISTRAL_7B, rows=rows)
            for rows in (8, 4, 2, 1)
        ]
        found.append(next((case for case in sizes if case.estimated() <= room), sizes[-1]))
    slices = [
        Case(
            name=f"Full, {layers} of 32 blocks",
            method=_FULL,
            length=4096,
            config={**MISTRAL_7B, "num_hidden_layers": layers},
            rows=1,
        )
        for layers in range(32, 0, -1)
    ]
    return [*found, next(case for case in slices if case.estimated() <= room)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="on the CPU")
    toy = parser.parse_args().toy
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {"DS_ACCELERATOR": "cpu" if toy else "cuda", "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1"}
    import torch

    from finetune_trainer.gang import form_gang

    name = "CPU" if toy else torch.cuda.get_device_name()
    gpu = flops.gpu_named(name)
    available = None if toy else torch.cuda.get_device_properties(0).total_memory
    print(f"{name}, torch {torch.__version__}, bf16, clipped, compiled, nothing recomputed\n")
    print("| | rows | tokens/s | MFU | peak GB | estimated | off by | plain, tokens/s | times |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    with form_gang(os.environ, gpu=not toy) as gang:
        for case in cases(available):
            own = ours(case, gang)
            _forget()
            tokens = case.rows * case.length
            work = flops.flops(case.training(gpu=not toy), [case.length] * case.rows, labelled=tokens - case.rows).total
            mfu = "" if gpu is None else f"{100 * work / own.seconds / gpu.peak:.1f} %"
            guess = case.estimated(gpu=not toy)
            sizes = "| |" if toy else f"{own.peak / 1e9:.1f} | {guess / 1e9:.1f} | {guess / own.peak - 1:+.0%}"
            peer = " | "
            if case.method.adapter is not None:
                try:
                    theirs = plain(case, gang.device)
                    peer = f"{tokens / theirs.seconds:,.0f} | {theirs.seconds / own.seconds:.2f}"
                except torch.cuda.OutOfMemoryError:
                    peer = "out of memory |"
                _forget()
            print(f"| {case.name} | {case.rows} | {tokens / own.seconds:,.0f} | {mfu} | {sizes} | {peer} |", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
