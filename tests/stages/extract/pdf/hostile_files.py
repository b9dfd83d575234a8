"""Small PDFs that ask too much of an engine, written by hand."""


def pdf(objects):
    """A PDF of numbered objects (bytes); the first is the catalog."""
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"trailer\n<</Size %d /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + end


def stream(data, entries=b""):
    return b"<<%s /Length %d>>\nstream\n%s\nendstream" % (entries, len(data), data)


def of_pages(*pages, forms=()):
    """A PDF of pages, each a content stream; `forms` are form XObjects that pages can draw as /F0, /F1 …, which know each
    other by those names too."""
    n = len(pages)
    first_form = 4 + 2 * n
    names = b" ".join(b"/F%d %d 0 R" % (i, first_form + i) for i in range(len(forms)))
    resources = b"/Resources <</Font <</T 3 0 R>> /XObject <<%s>>>>" % names
    kids = b" ".join(b"%d 0 R" % (4 + 2 * i) for i in range(n))
    objects = [b"<</Type /Catalog /Pages 2 0 R>>", b"<</Type /Pages /Kids [%s] /Count %d>>" % (kids, n)]
    objects.append(b"<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>")
    for i, page in enumerate(pages):
        objects.append(
            b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] %s /Contents %d 0 R>>" % (resources, 5 + 2 * i)
        )
        objects.append(stream(page))
    for form in forms:
        objects.append(stream(form, b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] %s" % resources))
    return pdf(objects)


def text(words, y=700):
    return b"BT /T 12 Tf 72 %d Td (%s) Tj ET" % (y, words)


def bomb(pages_before=0, pages_after=0):
    """Ten forms that each draw the next ten times, on one page among others: 10^10 draws."""
    forms = [b"/F%d Do " % (i + 1) * 10 for i in range(9)] + [text(b"x")]
    before = [text(b"Page %d before it" % i) for i in range(pages_before)]
    after = [text(b"Page %d after it" % i) for i in range(pages_after)]
    return of_pages(*before, b"/F0 Do " * 10, *after, forms=forms)


def drawing_itself():
    return of_pages(b"/F0 Do", forms=[b"/F0 Do " + text(b"again")])


def loop():
    """A page tree that contains itself."""
    return pdf([b"<</Type /Catalog /Pages 2 0 R>>", b"<</Type /Pages /Kids [2 0 R] /Count 1000000>>"])


def inflated(megabytes):
    """A page whose content grows to so many MB of spaces when it is read."""
    import zlib

    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(megabytes)) + packer.flush()
    return pdf(
        [
            b"<</Type /Catalog /Pages 2 0 R>>",
            b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
            b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R>>",
            stream(data, b"/Filter /FlateDecode"),
        ]
    )


def deep(levels):
    """Arrays nested so many levels deep where a page's contents are named."""
    nested = b"[" * levels + b"]" * levels
    return pdf(
        [
            b"<</Type /Catalog /Pages 2 0 R>>",
            b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
            b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %s>>" % nested,
        ]
    )
