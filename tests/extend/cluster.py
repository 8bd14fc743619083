"""A cluster that runs stages in threads of the command. Ctrl-C waits for what runs: no thread is ended from outside."""

from queue import Empty, Queue
from threading import Thread

from ablate.clusters.pool import AbstractPool, run_here
from ablate.clusters.registry import register


class Threads(AbstractPool):
    about = "in threads of the command"

    def __init__(self, *given):
        super().__init__(*given)
        self.results = Queue()

    def most_workers(self):
        return 1

    def start(self, id):
        Thread(target=lambda: self.results.put(run_here(self.program, id, self.board.root))).start()

    def ended(self, seconds):
        try:
            return [self.results.get(timeout=seconds)]
        except Empty:
            return []


register("thread", Threads)
