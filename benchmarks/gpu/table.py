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
    parser.add_argument("lines", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--json", default="")
    parser.add_argument("--stand-in", action="store_true", help="judge no figure: nothing was measured")
    parser.add_argument("--note", nargs="+", metavar="WORD", help="print a line: kind, what, why and an exit code")
    parser.add_argument("--processes", nargs="+", metavar="WORD", help="print a line: how, how many, files of their results")
    parser.add_argument("--card", action="store_true", help="print a line about the card that PyTorch sees")
    arguments = parser.parse_args()
    if arguments.note:
        kind, what, why, *code = arguments.note
        print(json.dumps({"part": kind, "what": what, "why": why.strip()[-400:], **({"code": int(code[0])} if code else {})}))
    elif arguments.processes:
        print(json.dumps(processes(*arguments.processes[:2], arguments.processes[2:])))
    elif arguments.card:
        print(json.dumps(card()))
    else:
        show(arguments)


def read_lines(path):
    """The JSON objects of a file. A line that was cut off says so, and costs nothing else."""
    results = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                result = json.loads(line)
            except ValueError:
                result = {"part": "failed", "what": "a line of results", "why": line.strip()[:200]}
            if isinstance(result, dict) and "part" in result:
                results.append(result)
    return results


def processes(how, count, files):
    ended = [result for file in files for result in read_lines(file) if result.get("step_us")]
    return {"part": "processes", "how": how, "processes": int(count), "ended_well": len(ended),
            "late_s": max((result["late_s"] for result in ended), default=0),
            "steps_per_second": round(sum(1e6 / result["step_us"] for result in ended), 1)}


def card():
    import torch
    if not torch.cuda.is_available():
        return {"part": "card", "name": "none", "torch": torch.__version__}
    seen = torch.cuda.get_device_properties(0)
    return {"part": "card", "name": seen.name, "gib": seen.total_memory >> 30, "multiprocessors": seen.multi_processor_count,
            "torch": torch.__version__, "cuda": torch.version.cuda, "cards": torch.cuda.device_count()}


def show(arguments):
    results = read_lines(arguments.lines)
    rows = table(results)
    if arguments.stand_in:
        rows = [row if row[0].startswith("correctness") else (*row[:3], "stand-in") for row in rows]
    width = max(len(row[0]) for row in rows)
    for what, figure, bar, judgement in rows:
        print(f"{what:<{width}}  {figure:<44} {bar:<26} {judgement}")
    for result in results:
        if result["part"] in ("skipped", "failed"):
            print(f"{result['part']}: {result.get('what', '')}: {result.get('why', '')} "
                  f"{'(code ' + str(result['code']) + ')' if 'code' in result else ''}".rstrip())
    seen = find(results, part="card")
    print(f"{arguments.seconds} s in all" + (f", {seen['name']}, torch {seen['torch']}" if seen else ""))
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


def safely(row, *arguments):
    """A row, or what kept it from being made: one result that is not as expected costs its own row alone."""
    try:
        return row(*arguments)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        return (f"{row.__name__} {' '.join(map(str, arguments[1:]))}", f"unreadable: {error!r}"[:60], "", "-")


def check_row(results, part):
    name = f"correctness: {part}"
    found = [r for r in results if r["part"] == part and "ok" in r]
    broken = [r for r in results if r["part"] == "failed" and f" {part}" in f" {r.get('what', '')}"]
    bad = [str(r.get("what", "")) for r in found if not r["ok"]]
    if bad or broken:
        said = f", wrong: {', '.join(bad)[:60]}" if bad else ", and ended before its end"
        return (name, f"{len(found) - len(bad)} of {len(found)}{said}", "all", "WRONG")
    if not found:
        return (name, "not measured", "all", "-")
    return (name, f"{len(found)} of {len(found)}", "all", "met")


def step_row(results, model, peer, bar, unit):
    own = find(results, part="step", who="muster", model=model)
    other = find(results, part="step", who="torch " + peer, model=model)
    name = f"{model}: against torch {peer}"
    if own and not own["ok"]:
        return (name, f"losses from {own['first_loss']} to {own['last_loss']}", f">= {bar}x", "WRONG")
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
    # Those that failed, or came late, left the card to the others.
    together = found["ended_well"] == found["processes"] and found["late_s"] <= 1
    return (name, f"{ratio:.2f}x ({found['ended_well']} ended well, {found['late_s']:.1f} s late)", "> 1x",
            verdict(ratio > 1) if together else "-")


def adamw_row(results):
    found = find(results, part="adamw")
    if not found:
        return ("flat AdamW against the copy's bandwidth", "not measured", ">= 85 %", "-")
    return ("flat AdamW against the copy's bandwidth",
            f"{found['share']:.1%} ({found['gb_s']:,.0f} of {found['copy_gb_s']:,.0f} GB/s)", ">= 85 %",
            verdict(found["share"] >= 0.85))


def checkpoint_row(results):
    kept = find(results, part="checkpoint")
    disk = find(results, part="disk")
    if not kept:
        return ("checkpoint every 10 steps (GPT-2)", "not measured", "< 3 %", "-")
    return ("checkpoint every 10 steps (GPT-2)",
            f"{kept['cost']:.2%}, {kept['saved']} of {kept['due']} saved, disk alone {disk['gb_s'] if disk else '?'} GB/s",
            "< 3 %", verdict(kept["cost"] < 0.03) if kept["saved"] == kept["due"] else "partly")


def memory_row(results):
    found = find(results, part="memory")
    if not found:
        return ("predicted peak memory", "not measured", "< 10 %, 0 failed in 200", "-")
    return ("predicted peak memory",
            f"worst {found['worst_error']:.1%} in {found['trials']} trials, {found['failed']} failed, "
            f"driver {found['driver_mb']:,} of {found['reckoned_mb']:,} MB reckoned",
            "< 10 %, 0 failed in 200", verdict(found["ok"]) if found["trials"] >= 200 else "partly")


def table(results):
    rows = [safely(check_row, results, part) for part in ("kernels", "training", "ranks")]
    rows += [safely(step_row, results, *words) for words in (
        ("gpt", "eager", 1.3, "tokens/s"), ("gpt", "compile", 0.9, "tokens/s"), ("gpt", "ddp", 1.0, "tokens/s"),
        ("mlp", "eager", 5, "samples/s"), ("mlp", "reduce-overhead", 1.5, "samples/s"),
        ("resnet50", "eager", 1.0, "images/s"), ("resnet50", "compile", 0.85, "images/s"))]
    rows.append(safely(adamw_row, results))
    rows += [safely(packed_row, results, "mlp", 4), safely(processes_row, results, "slices"),
             safely(processes_row, results, "mps"), safely(packed_row, results, "cnn", 2)]
    rows += [safely(checkpoint_row, results), safely(memory_row, results)]
    return rows


if __name__ == "__main__":
    main()
