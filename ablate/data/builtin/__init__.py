"""The built-in corpus: a small world of sentences, spoken by eSpeak NG."""
