"""`python -m ablate.bench.gpu`: what is true of a GPU, measured in a few minutes, step by step.

A step is a module of this folder with a function `run(device, report)`; `steps` lists them. Each runs in a process of
its own (`driver`), so that a crash or a hang ends that step alone, and tells what it measures value by value.
"""
