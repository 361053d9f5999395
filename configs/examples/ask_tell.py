#!/usr/bin/env python3
"""Tunes a Python function through `muster ask-tell`: python3 ask_tell.py [sweep.ini] [more arguments for muster ask-tell]"""
import json, math, os, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
arguments = sys.argv[1:] or [os.path.join(here, "ask_tell.ini")]
tuner = subprocess.Popen([os.environ.get("MUSTER", "muster"), "ask-tell", *arguments],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def say(**request):
    tuner.stdin.write(json.dumps(request) + "\n")
    tuner.stdin.flush()
    answer = json.loads(tuner.stdout.readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer

def train(params, epoch):  # one epoch of yours; a formula here
    return (math.log10(params["lr"]) + 2) ** 2 + (params["momentum"] - 0.9) ** 2 + 1 / (1 + epoch)

while not (job := say(op="ask")).get("done"):
    epoch, target = int(job["from"]), job["resource"]
    while epoch < target:
        epoch += 1
        loss = train(job["params"], epoch)
        answer = say(op="tell", trial=job["trial"], resource=epoch, value=loss)
        target = answer.get("resource", epoch)  # continue says how far; pause, stop, complete end it
print(json.dumps(say(op="best")))
tuner.stdin.close()
sys.exit(tuner.wait())
