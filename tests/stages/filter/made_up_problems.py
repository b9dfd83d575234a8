"""Word problems, prose and paraphrases made up by rules, so that what is planted is known and nothing is copied."""

NOUNS = [
    "apples",
    "boxes",
    "trains",
    "workers",
    "pencils",
    "tickets",
    "bottles",
    "chairs",
    "pages",
    "miles",
    "coins",
    "flowers",
    "books",
    "cakes",
    "lamps",
]
NAMES = [
    "Amara",
    "Bilal",
    "Chen",
    "Dora",
    "Emeka",
    "Farah",
    "Goran",
    "Hana",
    "Ines",
    "Jonas",
    "Kofi",
    "Lena",
    "Mira",
    "Nadia",
    "Oskar",
    "Petra",
]
VERBS = [
    "buys",
    "sells",
    "carries",
    "finds",
    "loses",
    "paints",
    "counts",
    "repairs",
    "packs",
    "delivers",
    "borrows",
    "collects",
]
PLACES = ["market", "harbour", "library", "factory", "garden", "station", "school", "workshop", "museum", "bakery"]
TAILS = [
    "How many {n} does {a} have left at the end of the week?",
    "What is the total cost of all the {n} in dollars?",
    "How many more {n} than {m} are there in the {p} now?",
    "If the pattern goes on, how many {n} will {a} need in total?",
]


def problem(rng):
    """A word problem in the manner of GSM8K, of 30 to 60 words."""
    n, m = rng.sample(NOUNS, 2)
    a, b = rng.sample(NAMES, 2)
    p = rng.choice(PLACES)
    sentences = [
        f"{a} {rng.choice(VERBS)} {rng.randint(2, 99)} {n} every day at the {p}.",
        f"On {rng.choice(['Monday', 'Friday', 'Sunday'])} {b} {rng.choice(VERBS)} {rng.randint(2, 40)} {m} for ${rng.randint(2, 30)} each.",
        f"Then {rng.choice([a, b])} {rng.choice(VERBS)} {rng.randint(2, 9)} times as many {rng.choice([n, m])} as before.",
        f"A third of them, {rng.randint(3, 60)} in all, are given to the {rng.choice(PLACES)} near the river.",
    ]
    return " ".join([*sentences[: rng.randint(2, 4)], rng.choice(TAILS).format(n=n, m=m, a=a, p=p)])


WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "one",
    "had",
    "not",
    "but",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
    "how",
    "up",
    "out",
    "them",
    "then",
    "she",
    "many",
    "some",
    "so",
    "these",
    "would",
    "other",
    "into",
    "has",
    "more",
    "her",
    "two",
    "like",
    "him",
    "see",
    "time",
    "could",
    "no",
    "make",
    "than",
    "first",
    "been",
    "its",
    "who",
    "now",
    "people",
    "my",
    "made",
    "over",
    "did",
    "down",
    "only",
    "way",
    "find",
    "use",
    "may",
    "water",
    "long",
    "little",
    "very",
    "after",
    "words",
    "called",
    "just",
    "where",
    "most",
    "know",
] + [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)]


def prose(rng, n):
    """`n` words with the frequencies of a language, nearly."""
    return " ".join(rng.choices(WORDS, [1 / (i + 2) for i in range(len(WORDS))], k=n))


def common_subsequence(a, b):
    """The textbook's recursion: the oracle for the bit-parallel kernel."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b):
            before, row[j + 1] = row[j + 1], before + 1 if x == y else max(row[j + 1], row[j])
    return row[-1]


def paraphrase(rng, text, share):
    """Another text with the same numbers: words are replaced, left out or added, at about `share` of the places."""
    words = []
    for word in text.split():
        draw = rng.random()
        if any(c.isdigit() for c in word) or draw >= share:
            words.append(word)
        elif draw < share * 0.6:
            words.append(
                rng.choice(["roughly", "another", "fetches", "wares", "altogether", "fellow", "stall", "gets"])
            )
        elif draw < share * 0.8:
            words += [word, rng.choice(["indeed", "also", "then", "quite"])]
    return " ".join(words)
