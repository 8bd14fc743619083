"""Synthetic speech by eSpeak NG: voices, noise, and log-mel frames and phones of many utterances in parallel.

eSpeak keeps state from one utterance to the next (noise, phases) that cannot be reset. So utterances are spoken in
chunks of a fixed size, each by a new process that has never spoken before: the result depends on the chunk, not on the
number of processes. eSpeak NG is GPL-3 and optional; only this file uses it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ablate.data.audio import resample
from ablate.data.table import FRAME
from ablate.errors import UserError
from encoders import frontend, seeds

CHUNK = 50  # utterances; changing it changes the speech
RATE = 22_050  # Hz, eSpeak's sampling rate

# American English, each with a speaker variant. Whispering, creaking and robot variants are left out, and so are those
# with breath (f2, f3, f5, ...): eSpeak makes breath from uninitialised memory, so they never sound the same again.
VOICES = (
    "m3",
    "m7",
    "f4",
    "f1",
    "m1",
    "linda",
    "m2",
    "Andrea",
    "m5",
    "anika",
    "m6",
    "aunty",
    "m8",
    "steph",
    "Michael",
    "shelby",
    "paul",
    "grandma",
    "Mike",
    "boris",
    "ian",
    "max",
    "norbert",
    "rob",
    "antonio",
    "travis",
    "Lee",
    "zac",
)
UNSEEN_VOICES = ("m4", "belinda", "john", "Annie", "Gene", "Andy", "quincy", "Mario", "david", "iven")

_SYNCHRONOUS, _PHONEME_EVENTS, _SPEED, _PITCH, _UTF8 = 2, 1, 1, 3, 1
_PHONEME = 7  # type of an event
_STRESS = "',%="  # eSpeak's marks before a phone
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Utterance:
    """Text, voice, rate (words per minute), pitch (0 to 99), and signal-to-noise ratio (dB) of an utterance."""

    text: str
    voice: str
    rate: int
    pitch: int
    snr: float
    key: int  # of the noise


Phones = list[tuple[int, str]]  # (first 10 ms frame, phone); pauses are "_"


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT; `audio` is in milliseconds."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", _Id),
    ]


def require() -> None:
    """Raise UserError if eSpeak NG is not installed."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError(
            "The built-in corpus needs eSpeak NG, which is not installed: run 'pip install espeakng-loader' or "
            "'make', or choose 'data: real'."
        )


class Speaker:
    """eSpeak NG in this process: make one only in a process that need not reproduce its speech."""

    def __init__(self) -> None:
        require()
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _PHONEME_EVENTS
        )
        if rate != RATE:
            raise RuntimeError(f"eSpeak NG starts with {rate}, expected a sampling rate of {RATE} Hz.")
        self._variants = set(os.listdir(os.path.join(espeakng_loader.get_data_path(), "voices", "!v")))
        self._samples = bytearray()
        self._phones: Phones = []

        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        def receive(wave, count, events):
            if count > 0 and wave:
                self._samples.extend(ctypes.string_at(wave, 2 * count))
            i = 0
            while events[i].type:
                if events[i].type == _PHONEME:
                    name = events[i].id.string.decode().lstrip(_STRESS)
                    self._phones.append((events[i].audio // 10, "_" if name.startswith("_") else name))
                i += 1
            return 0

        self._receive = receive  # must live as long as eSpeak may call it
        self._library.espeak_SetSynthCallback(receive)

    def say(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, Phones]:
        """Speak; return samples in [-1, 1] at 22,050 Hz, and the phones with their first 10 ms frames.

        Raises RuntimeError for an unknown voice or if there is no sound.
        """
        self._samples.clear()
        self._phones.clear()
        known = voice in self._variants  # for an unknown voice, eSpeak silently takes its default voice
        if not known or self._library.espeak_SetVoiceByName(f"en-us+{voice}".encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice 'en-us+{voice}'.")
        self._library.espeak_SetParameter(_SPEED, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        said = text.encode()
        self._library.espeak_Synth(said, len(said) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._samples:
            raise RuntimeError(f"eSpeak NG said nothing for {text!r}.")
        return np.frombuffer(bytes(self._samples), dtype="<i2").astype(np.float32) / 32768, list(self._phones)


def noisy(wave: np.ndarray, snr: float, key: int) -> np.ndarray:
    """Add white noise, `snr` dB below the mean power of the wave."""
    noise = seeds.rng(key).standard_normal(len(wave), dtype=np.float32)
    power = float(np.square(wave, dtype=np.float64).mean())
    return wave + noise * np.float32((power * 10 ** (-snr / 10)) ** 0.5)


def features(speaker: Speaker, said: Utterance) -> tuple[np.ndarray, Phones]:
    """Synthesise an utterance: normalised log-mel, float16 [F, 80], and its phones."""
    wave, phones = speaker.say(said.text, said.voice, said.rate, said.pitch)
    mel = frontend.log_mel(torch.from_numpy(noisy(resample(wave, RATE), said.snr, said.key)))
    return frontend.normalise(mel).numpy().astype(np.float16), phones


def speak(
    utterances: Sequence[Utterance], processes: int, check: Callable[[], None] = lambda: None
) -> Iterator[tuple[np.ndarray, Phones]]:
    """Yield frames and phones of every utterance, in order, using `processes`; `check` may raise to end them."""
    resample(np.zeros(RATE, np.float32), RATE)  # imports SciPy here, once, and not in each of the processes
    import scipy.signal  # noqa: F401  here, so that not every process of a chunk spends half a second on it

    chunks = [utterances[i : i + CHUNK] for i in range(0, len(utterances), CHUNK)]
    for spoken in _in_order(_speak_chunk, chunks, processes, check):
        yield from spoken


def _speak_chunk(chunk: Sequence[Utterance]) -> list[tuple[np.ndarray, Phones]]:
    torch.set_num_threads(1)
    speaker = Speaker()
    return [features(speaker, said) for said in chunk]


def measure(utterances: Sequence[Utterance]) -> Iterator[float]:
    """Yield the duration of each utterance in seconds."""
    for mel, _ in speak(utterances, len(os.sched_getaffinity(0))):
        yield len(mel) * FRAME


Running = dict[int, tuple[int, int, bytearray]]  # by pipe: chunk, process, bytes received so far


def _in_order(
    function: Callable[[Sequence[Utterance]], list],
    chunks: Sequence[Sequence[Utterance]],
    processes: int,
    check: Callable[[], None],
) -> Iterator[list]:
    """Yield `function(chunk)` in order, each from a process forked for it, at most `processes` at a time."""
    running: Running = {}
    finished: dict[int, list] = {}
    begun = 0
    try:
        for wanted in range(len(chunks)):
            check()
            while wanted not in finished:
                while begun < len(chunks) and len(running) < processes:
                    pipe, process = _fork(function, chunks[begun], tuple(running))
                    running[pipe] = begun, process, bytearray()
                    begun += 1
                finished.update(_received(running))
                check()
            yield finished.pop(wanted)
    finally:
        for pipe, (_, process, _) in running.items():
            os.close(pipe)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _received(running: Running) -> Iterator[tuple[int, list]]:
    """Read what processes send, waiting at most a second; processes that have ended are removed from `running`.

    Yields each ended process's chunk number and result. Raises RuntimeError if one failed.
    """
    for pipe in select.select(list(running), [], [], 1.0)[0]:
        index, process, sent = running[pipe]
        part = os.read(pipe, 1 << 20)
        sent += part
        if part:
            continue
        del running[pipe]
        os.close(pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status:
            raise RuntimeError(f"A process that speaks ended with status {status}; see the log above.")
        yield index, pickle.loads(sent)


def _fork(function: Callable, chunk: Sequence[Utterance], pipes: Sequence[int]) -> tuple[int, int]:
    """Start a process that sends `function(chunk)` through a pipe; return the pipe's reading end and the process id.

    The multiprocessing module would use one process for many chunks, or import torch again for each.
    """
    parent = os.getpid()
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return read, process
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        for pipe in (read, *pipes):
            os.close(pipe)
        if os.getppid() == parent:
            with open(write, "wb") as pipe:
                pickle.dump(function(chunk), pipe, protocol=pickle.HIGHEST_PROTOCOL)
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
