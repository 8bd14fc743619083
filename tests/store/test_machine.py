"""Which machine a number was made on: read from the system, from torch where it is loaded, and kept in every record."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ablate.store import machine as of
from ablate.store.record import read_json
from ablate.store.run import RunFolder

ROOT = Path(of.__file__).resolve().parents[2]
EPYC = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n{flags}\n"
    "\nprocessor\t: 1\nmodel\t: 9\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EPYC.format(flags="flags\t\t: fpu sse4_2 avx avx2 avx512f"), ("AMD EPYC", "26.2", "avx512")),
        (EPYC.format(flags="flags\t\t: fpu sse4_2 avx avx2 avx512_no"), ("AMD EPYC", "26.2", "avx2")),
        (EPYC.format(flags="flags\t\t: fpu"), ("AMD EPYC", "26.2", None)),
        (
            "processor\t: 0\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n",
            ("plain", "0x41.0xd40", "sve"),
        ),
        (None, ("plain", None, None)),
    ],
)
def test_processor_as_the_system_names_it(tmp_path, monkeypatch, text, expected):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(of, "CPUINFO", path)
    monkeypatch.setattr(of.platform, "processor", lambda: "plain")
    assert tuple(of._processor.__wrapped__().values()) == expected


def test_libraries_as_torch_names_them():
    mkl = "  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605\n"
    mkl += "  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa7)\n"
    assert of._built(mkl + "Build settings: BLAS_INFO=mkl, X=1") == {"blas": "mkl 2024.2", "onednn": "3.12.0"}
    assert of._built("Build settings: BLAS_INFO=open, X=1") == {"blas": "open", "onednn": None}
    facts = of.machine()
    assert facts["torch"] == torch.__version__ and facts["threads"] == torch.get_num_threads()
    assert facts["blas"] in of._built(torch.__config__.show()).values() and facts["capability"]


def test_a_process_without_torch_says_what_it_knows_and_loads_none():
    code = (
        "import json, sys; from ablate.store.machine import machine; "
        "print(json.dumps([machine(), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    alone, loaded = json.loads(done.stdout)
    assert not loaded and alone["torch"] is alone["threads"] is alone["device"] is None
    assert {k: alone[k] for k in ("processor", "family", "instructions")} == of._processor()


def test_every_result_keeps_it(tmp_path):
    run = RunFolder(tmp_path, "score", "ab12")
    with run.lock():
        run.finish({"scores": []})
    assert read_json(run.path / "result.json")["machine"] == of.machine()


def test_label_for_people():
    one = {"processor": "AMD EPYC", "family": "26.2", "instructions": "avx512", "device": "cpu", "torch": "2.13.0"}
    one["threads"] = 1
    assert of.label(one) == "AMD EPYC, avx512, torch 2.13.0, 1 thread"
    assert (
        of.label(one | {"device": "NVIDIA H200", "threads": 8})
        == "NVIDIA H200, AMD EPYC, avx512, torch 2.13.0, 8 threads"
    )
    assert of.label({}) == "" and of.label({"processor": "arm", "torch": None}) == "arm"
