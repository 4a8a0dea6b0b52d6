"""Text with meaning: pieces of (text, tone) on a line. Nothing here is ever read as markup."""

from rich.text import Text

from pgops.tui.theme import STYLES, Tone

Piece = str | tuple[str, Tone]


def ink(*pieces: Piece, right: bool = False) -> Text:
    """One line of pieces; a bare string is plain."""
    text = Text(no_wrap=True, overflow="ellipsis", justify="right" if right else "left", end="")
    for piece in pieces:
        if isinstance(piece, str):
            text.append(piece, STYLES["plain"])
        else:
            text.append(piece[0], STYLES[piece[1]])
    return text


def number(shown: str, tone: Tone = "plain") -> Text:
    """A number at the right of its column; nothing and unknown are quiet."""
    if tone == "plain" and shown in ("0", "–", "0s"):
        tone = "quiet"
    return ink((shown, tone), right=True)


def plain(words: str) -> str:
    """`words` for where Textual reads markup (titles of borders), so that they stand as they are."""
    return words.replace("[", "\\[")
