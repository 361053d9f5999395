#!/usr/bin/env python3
"""Prints the table of results.jsonl: what was measured, beside its bar; and writes it all as one JSON.

A bar that was not measured says so. Ends with 1 where a check failed.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import platform


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lines")
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    with open(arguments.lines, encoding="utf-8") as file:
        results = [json.loads(line) for line in file if line.strip()]
    rows = table(results)
    width = max(len(row[0]) for row in rows)
    for what, figure, bar, verdict in rows:
        print(f"{what:<{width}}  {figure:<44} {bar:<26} {verdict}")
    for result in results:
        if result["part"] in ("skipped", "failed"):
            print(f"{result['part']}: {result['what']} {result.get('why', '')}")
    print(f"{arguments.seconds} s in all")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"host": platform.platform(), "seconds": arguments.seconds,
                       "rows": rows, "results": results}, file, indent=1)
    raise SystemExit(1 if any(row[3] == "WRONG" for row in rows) else 0)


def find(results, **wanted):
    for result in results:
        if all(result.get(key) == value for key, value in wanted.items()):
            return result
    return None


def verdict(is_met):
    return "met" if is_met else "MISSED"


def check_row(results, part):
    found = [r for r in results if r["part"] == part and "ok" in r]
    if not found:
        return (f"correctness: {part}", "not measured", "all", "-")
    bad = [r.get("what", str(r.get("ranks", ""))) for r in found if not r["ok"]]
    return (f"correctness: {part}", f"{len(found) - len(bad)} of {len(found)}" +
            (f", wrong: {', '.join(bad)[:60]}" if bad else ""), "all", "WRONG" if bad else "met")


def step_row(results, model, peer, bar, unit):
    own = find(results, part="step", who="muster", model=model)
    other = find(results, part="step", who="torch " + peer, model=model)
    name = f"{model}: against torch {peer}"
    if not own or not other:
        return (name, "not measured", f">= {bar}x", "-")
    ratio = other["step_us"] / own["step_us"]
    figure = f"{ratio:.2f}x ({own['per_second']:,.0f} against {other['per_second']:,.0f} {unit})"
    return (name, figure, f">= {bar}x", verdict(ratio >= bar))


def packed_row(results, model, bar):
    found = find(results, part="packed", model=model)
    name = f"packed {model} trials against serial"
    if not found:
        return (name, "not measured", f">= {bar}x", "-")
    return (f"{found['trials']} {name}", f"{found['gain']:.2f}x", f">= {bar}x",
            verdict(found["gain"] >= bar))


def processes_row(results, how):
    packed = find(results, part="packed", model="mlp")
    found = find(results, part="processes", how=how)
    name = f"packed mlp trials against 16 processes ({how})"
    if not packed or not found or not found["steps_per_second"]:
        return (name, "not measured", "> 1x", "-")
    rate = packed["trials"] * packed["steps"] / packed["packed_s"]
    ratio = rate / found["steps_per_second"]
    return (name, f"{ratio:.2f}x ({found['ended_well']} ended well)", "> 1x", verdict(ratio > 1))


def table(results):
    rows = [check_row(results, part) for part in ("kernels", "training", "ranks")]
    rows += [step_row(results, "gpt", "eager", 1.3, "tokens/s"),
             step_row(results, "gpt", "compile", 0.9, "tokens/s"),
             step_row(results, "gpt", "ddp", 1.0, "tokens/s"),
             step_row(results, "mlp", "eager", 5, "samples/s"),
             step_row(results, "mlp", "reduce-overhead", 1.5, "samples/s"),
             step_row(results, "resnet50", "eager", 1.0, "images/s"),
             step_row(results, "resnet50", "compile", 0.85, "images/s")]
    adamw = find(results, part="adamw")
    rows.append(("flat AdamW against the copy's bandwidth",
                 f"{adamw['share']:.1%} ({adamw['gb_s']:,.0f} of {adamw['copy_gb_s']:,.0f} GB/s)"
                 if adamw else "not measured", ">= 85 %",
                 verdict(adamw["share"] >= 0.85) if adamw else "-"))
    rows += [packed_row(results, "mlp", 4), processes_row(results, "slices"),
             processes_row(results, "mps"), packed_row(results, "cnn", 2)]
    kept = find(results, part="checkpoint")
    disk = find(results, part="disk")
    rows.append(("checkpoint every 10 steps (GPT-2)",
                 f"{kept['cost']:.2%}, {kept['saved']} saved, disk alone "
                 f"{disk['gb_s'] if disk else '?'} GB/s" if kept else "not measured", "< 3 %",
                 verdict(kept["cost"] < 0.03) if kept else "-"))
    memory = find(results, part="memory")
    rows.append(("predicted peak memory", f"worst {memory['worst_error']:.1%} in {memory['trials']} "
                 f"trials, {memory['failed']} failed" if memory else "not measured",
                 "< 10 %, 0 failed", verdict(memory["ok"]) if memory else "-"))
    return rows


if __name__ == "__main__":
    main()
