"""The pipeline `pdf` on its samples, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest

pytest.importorskip("pymupdf")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("pdf")
    command = [sys.executable, "-m", "curation", "run", "pdf", "--inline", "--output", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def table(folder):
    return ds.dataset(folder, format="parquet").to_table()


def test_every_file_ends_in_one_place_with_a_reason(run):
    kept, dropped = table(run / "documents"), table(run / "dropped")
    assert kept.num_rows + dropped.num_rows == 7
    why = dict(zip(dropped["file"].to_pylist(), dropped["reason"].to_pylist(), strict=True))
    assert why["encrypted.pdf"] == "encrypted" and why["error-page.pdf"] == "html"
    assert {why.get("copy.pdf"), why.get("two-columns.pdf")} == {None, "exact_duplicate"}
    assert "hebrew.pdf" in kept["file"].to_pylist()
    assert json.loads((run / "run.json").read_text())["status"] == "complete"


def test_pages_are_found_again_in_the_text_of_documents(run):
    for row in table(run / "documents").to_pylist():
        assert len(row["page_offsets"]) == len(row["page_status"]) == len(row["page_reason"]) == row["n_pages"]
        assert row["page_offsets"] == sorted(row["page_offsets"]) and row["page_offsets"][-1] <= len(row["text"])
    by_file = {row["file"]: row for row in table(run / "documents").to_pylist()}
    assert by_file["hebrew.pdf"]["language"] == "heb_Hebr"
    assert by_file["cut-short.pdf"]["truncated"] == "pdf_cut"


def test_time_spent_in_the_process_that_reads_pages_is_counted(run):
    stages = json.loads((run / "run.json").read_text())["stages"]
    (extract,) = [stage for stage in stages if stage["stage"] == "extract_pdf"]
    assert extract["cpu_s"] > 0.05 and extract["metrics"]["counters"]["pages_text"] >= 6
