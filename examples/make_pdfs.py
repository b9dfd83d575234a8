"""Makes the sample PDFs of the pipeline `pdf`, from texts of this project and of the Universal Declaration.

    python examples/make_pdfs.py examples/pdf

Needs PyMuPDF and fontTools, and the font DejaVu Sans for Hebrew. Each file shows one thing: columns drawn row by row
under a running title, a scan among pages of text, a table, text from right to left, and three files that are no good.
"""

import re
import sys
from pathlib import Path

import pymupdf

ROOT = Path(__file__).resolve().parents[1]
DEJAVU = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
WIDTH, HEIGHT, SIZE, LEADING = 595, 842, 10, 13
DATES = {"creationDate": "D:20260101000000Z", "modDate": "D:20260101000000Z"}
HEBREW = """כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש
ברעהו ברוח של אחווה. כל אדם זכאי לזכויות ולחרויות שנקבעו בהכרזה זו ללא הפליה כלשהי. כל אדם יש לו הזכות לחיים, לחירות
ולביטחון אישי. לא יהיה אדם עבד או משועבד. לא יהיה אדם נתון לעינויים, ולא ליחס או לעונש אכזריים, בלתי אנושיים או
משפילים. הכל שווים לפני החוק וזכאים ללא הפליה להגנה שווה של החוק. כל איש ואשה שהגיעו לפרקם רשאים לבוא בברית הנשואין
ולהקים משפחה, ללא כל הגבלה מטעמי גזע."""


def prose(name):
    """The paragraphs of a file of documentation, without headings, lists and code."""
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", text)
    text = text.translate({0x2013: "-", 0x2026: "..."}).encode("latin-1", "ignore").decode("latin-1")
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in parts if len(part) > 120 and part[0] not in "#|-<>" and _plain(part) > 0.85]


def _plain(text):
    """Share of the words that are letters but for a mark at either end."""
    words = text.split()
    return sum(word.strip("(),.;:'\"?").replace("-", "").isalpha() for word in words) / len(words)


def set_lines(paragraphs, width, font="helv"):
    """Paragraphs as lines of (text, is it the last of its paragraph); long words are cut at line ends."""
    lines = []
    for paragraph in paragraphs:
        line = ""
        for word in paragraph.split():
            wanted = f"{line} {word}".strip()
            if pymupdf.get_text_length(wanted, font, SIZE) <= width:
                line = wanted
                continue
            half = len(word) // 2
            if (
                len(word) > 9
                and word.isalpha()
                and pymupdf.get_text_length(f"{line} {word[:half]}-", font, SIZE) <= width
            ):
                lines.append((f"{line} {word[:half]}-", False))
                line = word[half:]
            else:
                lines.append((line, False))
                line = word
        lines.append((line, True))
    return lines


def two_columns(paragraphs):
    """Two columns drawn row by row, with a running title and page numbers."""
    document, lines = pymupdf.open(), set_lines(paragraphs, 235)
    rows = 50
    for number in range(-(-len(lines) // (2 * rows))):
        page = document.new_page(width=WIDTH, height=HEIGHT)
        page.insert_text((50, 50), f"Notes on Curation, volume 7 · {number + 1}", fontname="helv", fontsize=8)
        page.insert_text((290, 810), f"{number + 1}", fontname="helv", fontsize=9)
        here = lines[2 * rows * number : 2 * rows * (number + 1)]
        half = -(-len(here) // 2)
        for row in range(half):
            for side in range(2):
                if side * half + row < len(here):
                    text, _ = here[side * half + row]
                    page.insert_text((50 + 260 * side, 90 + LEADING * row), text, fontname="helv", fontsize=SIZE)
    return document


def one_column(document, lines, title):
    page = document.new_page(width=WIDTH, height=HEIGHT)
    page.insert_text((60, 70), title, fontname="hebo", fontsize=16)
    for row, (text, _) in enumerate(lines[:52]):
        page.insert_text((60, 110 + LEADING * row), text, fontname="tiro", fontsize=SIZE)
    return page


def scanned(page):
    """A document of one page that is a picture of a page."""
    pixels = page.get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)
    document = pymupdf.open()
    document.new_page(width=WIDTH, height=HEIGHT).insert_image(pymupdf.Rect(0, 0, WIDTH, HEIGHT), pixmap=pixels)
    return document


def report():
    """Text, a scan, a table."""
    document = pymupdf.open()
    lines = set_lines(prose("docs/adding-a-stage.md") + prose("docs/design.md")[3:7], 470, "tiro")
    one_column(document, lines, "How a stage is added")
    picture = pymupdf.open()
    document.insert_pdf(scanned(one_column(picture, lines[52:], "What a barrier is")))
    page = document.new_page(width=WIDTH, height=HEIGHT)
    page.insert_text((60, 70), "What the sample run keeps", fontname="hebo", fontsize=16)
    rows = re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    for r, row in enumerate([("Stage", "In", "Kept", "Dropped", "Failed"), *rows]):
        for c, cell in enumerate(row):
            page.insert_text((60 + 130 * bool(c) + 70 * c, 110 + 16 * r), cell, fontname="helv", fontsize=SIZE)
    return document


def hebrew():
    document = pymupdf.open()
    page = document.new_page(width=WIDTH, height=HEIGHT)
    font = pymupdf.Font(fontfile=DEJAVU)
    writer = pymupdf.TextWriter(page.rect)
    y, line = 100, ""
    for word in [*HEBREW.split(), ""]:
        if word and font.text_length(f"{line} {word}", 12) < 460:
            line = f"{line} {word}".strip()
            continue
        writer.append((535 - font.text_length(line, 12), y), line, font=font, fontsize=12, right_to_left=1)
        y, line = y + 18, word
    writer.write_text(page)
    document.subset_fonts()
    return document


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    made = {"two-columns": two_columns(prose("docs/design.md")), "report-with-scan": report(), "hebrew": hebrew()}
    titles = {"two-columns": "Notes on Curation", "report-with-scan": "Stages and barriers", "hebrew": ""}
    for name, document in made.items():
        document.set_metadata({"title": titles[name], **DATES})
        document.save(folder / f"{name}.pdf", garbage=4, deflate=True, no_new_id=True)
    whole = (folder / "two-columns.pdf").read_bytes()
    (folder / "copy.pdf").write_bytes(whole)
    (folder / "cut-short.pdf").write_bytes(whole[: len(whole) // 2])
    made["two-columns"].save(
        folder / "encrypted.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", deflate=True, no_new_id=True
    )
    (folder / "error-page.pdf").write_text("<!DOCTYPE html><html><title>404</title><body>Not found</body></html>\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
