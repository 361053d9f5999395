#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles a training step ahead of time for Muster (experimental): loss and gradients in one call, forward in another.

    python3 compile_step.py digits_mlp.py digits_mlp.pt2    torch 2.11 and g++; then model.kind = compiled, model.file = digits_mlp.pt2

The first file defines example(): a module, and features and labels of one batch. Ranks compute their samples in batches of that
size; the last one is filled up with samples that weigh nothing. The package holds machine code for this processor."""
import argparse, json, os, runpy, sys, zipfile
import torch
from torch.export.pt2_archive._package import package_pt2
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss, "bce": F.binary_cross_entropy_with_logits}

def losses_of(kind, smoothing, outputs, labels):  # one a sample: the mean over its positions or values
    if kind == "cross_entropy":
        each = F.cross_entropy(outputs.flatten(0, -2).float(), labels.flatten(), reduction="none", label_smoothing=smoothing)
    else:
        each = LOSSES[kind](outputs.float(), labels.float().reshape(outputs.shape), reduction="none")
    return each.reshape(len(labels), -1).mean(1)

def compiled(function, inputs, threads):
    graph = make_fx(function, tracing_mode="fake")(*inputs)
    random = sorted({str(n.target) for n in graph.graph.nodes if torch.Tag.nondeterministic_seeded in getattr(n.target, "tags", ())})
    # Not linked against libtorch.so, which asks for CUDA's libraries: the program that opens it has the rest.
    options = {"aot_inductor.package": True, "aot_inductor.link_libtorch": False, "cpp.threads": threads}
    return torch._inductor.aot_compile(graph, tuple(inputs), options=options), random

def like(tensor):
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Python file that defines example()")
    parser.add_argument("package", help="what to write, NAME.pt2")
    parser.add_argument("--loss", default="cross_entropy", choices=["cross_entropy", *LOSSES], help="train.loss of the job")
    parser.add_argument("--label-smoothing", type=float, default=0.0, help="train.label_smoothing of the job")
    parser.add_argument("--threads", type=int, default=1, help="of a rank, in what is compiled here [1]")
    arguments = parser.parse_args()
    if not arguments.package.endswith(".pt2"):
        parser.error("the package must be named NAME.pt2")

    model, features, labels = runpy.run_path(arguments.model)["example"]()
    parameters = {name: t.detach().contiguous() for name, t in model.named_parameters()}
    buffers = {name: t.detach().clone(memory_format=torch.contiguous_format) for name, t in model.named_buffers()
               if t.dtype in (torch.float32, torch.int64)}  # others become constants of the code
    if wrong := [name for name, t in parameters.items() if t.dtype != torch.float32]:
        sys.exit(f"parameter {wrong[0]} is not float32")
    held = [*parameters.values(), *buffers.values()]

    def forward(*tensors):
        named = dict(zip([*parameters, *buffers], tensors))
        return [functional_call(model, named, (tensors[len(held)],))]

    def step(*tensors):
        leaves = [t.detach().requires_grad_() for t in tensors[:len(parameters)]]
        outputs, = forward(*leaves, *tensors[len(leaves):len(held) + 1])
        loss = (losses_of(arguments.loss, arguments.label_smoothing, outputs, tensors[-2]) * tensors[-1]).sum()
        return [loss, *torch.autograd.grad(loss, leaves)]

    model.train()
    weights = torch.full((len(features),), 1 / len(features))
    before = [b.clone() for b in buffers.values()]
    step(*held, features, labels, weights)
    if moved := [name for name, b in zip(buffers, before) if not torch.equal(buffers[name], b)]:
        sys.exit(f"the model changes its buffer {moved[0]} while it trains (batch norm?), which a compiled step cannot; "
                 "use layers without running statistics, such as GroupNorm")
    step_files, random = compiled(step, [*held, features, labels, weights], arguments.threads)
    model.eval()
    with torch.no_grad():
        outputs = model(features)
        forward_files, _ = compiled(forward, [*held, features], arguments.threads)

    package_pt2(arguments.package, aoti_files={"step": step_files, "forward": forward_files})
    said = {"format": 1, "torch": torch.__version__.split("+")[0], "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": arguments.threads, "random": ", ".join(random), "loss": arguments.loss, "label_smoothing": arguments.label_smoothing,
            "batch": len(features), "features": like(features[0]), "labels": like(labels[0]), "outputs": like(outputs[0]),
            "parameters": [{"name": name, **like(t)} for name, t in parameters.items()],
            "buffers": [{"name": name, **like(t)} for name, t in buffers.items()]}
    with zipfile.ZipFile(arguments.package, "a") as package:
        root = package.namelist()[0].split("/")[0]
        package.writestr(f"{root}/extra/muster.json", json.dumps(said, indent=1))
        package.writestr(f"{root}/extra/muster.start", b"".join(t.numpy().tobytes() for t in held))
        sums = {record.filename.removeprefix(f"{root}/"): record.CRC for record in package.infolist()}
        package.writestr(f"{root}/extra/muster.sums", json.dumps(sums))  # torch's reader of packages looks at none
    print(f"{arguments.package}: {sum(t.numel() for t in parameters.values())} parameters, batches of {len(features)}, "
          f"{os.path.getsize(arguments.package) / 1e6:.1f} MB")

if __name__ == "__main__":
    main()
