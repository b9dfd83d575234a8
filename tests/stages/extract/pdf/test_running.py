"""Headers, footers and page numbers."""

from stages.extract.pdf.running import EdgeLine, running_lines


def lines(*rows):
    return [EdgeLine(*row) for row in rows]


def test_a_title_that_comes_again_with_other_numbers_goes():
    edges = lines(*((p, 0.05, f"Annual Report · {p + 1}", 0, True) for p in range(6)))
    assert running_lines(edges, 6) == set(range(6))


def test_titles_of_left_and_right_pages_both_go():
    edges = lines(*((p, 0.05, "Author Name" if p % 2 else "The Title", 0, True) for p in range(8)))
    assert running_lines(edges, 8) == set(range(8))


def test_a_first_line_that_comes_once_stays():
    edges = lines((0, 0.05, "Introduction", 0, True), (1, 0.05, "Methods", 0, True), (2, 0.05, "Results", 0, True))
    assert running_lines(edges, 3) == set()


def test_page_numbers_count_up_with_the_pages():
    roman = ["i", "ii", "iii", "iv", "v"]
    edges = lines(*((p, 0.95, roman[p], 0, False) for p in range(5)), (5, 0.95, "1984", 0, False))
    assert running_lines(edges, 6) == set(range(5))


def test_numbers_that_say_they_are_pages_go_from_a_single_page():
    said = ["Page 3 of 12", "- 7 -", "Seite 4", "3/17", "第 3 页", "стр. 5", "p. 12", "12ページ"]
    for text in said:
        assert running_lines(lines((0, 0.95, text, 0, False)), 1) == {0}, text
    for text in ["Pages of history", "In 1984", "see page 3 for the rest of it", "$5/12"]:
        assert running_lines(lines((0, 0.95, text, 0, False)), 1) == set(), text


def test_equal_lines_at_other_heights_stay():
    edges = lines(*((p, 0.02 + 0.02 * p, "Question", 0, True) for p in range(5)))
    assert running_lines(edges, 5) == set()
