"""The colours and what they mean: one accent; green, amber and red for meaning alone, never without a word or glyph."""

from typing import Literal

from textual.theme import Theme

from pgops.profiles import Color

Tone = Literal["plain", "quiet", "accent", "good", "warn", "bad"]

INK = "#c8d1dc"
QUIET = "#748294"
ACCENT = "#82aad0"
GOOD = "#8ab98d"
WARN = "#dcae62"
BAD = "#e07a78"
GROUND = "#2a3544"

STYLES: dict[Tone, str] = {
    "plain": INK,
    "quiet": QUIET,
    "accent": ACCENT,
    "good": GOOD,
    "warn": WARN,
    "bad": BAD,
}

COLORS: dict[Color | None, str] = {"red": BAD, "amber": WARN, "green": GOOD, "blue": ACCENT, None: QUIET}
GLYPHS = {"critical": "▲", "warning": "◆", "info": "●"}
SEVERITY_TONES: dict[str, Tone] = {"critical": "bad", "warning": "warn", "info": "accent"}

NIGHT = Theme(
    name="pgops-night",
    primary=ACCENT,
    secondary="#5f7f9e",
    accent=ACCENT,
    foreground=INK,
    background="#0f141a",
    surface="#141a22",
    panel="#1b232e",
    boost="#212b38",
    success=GOOD,
    warning=WARN,
    error=BAD,
    dark=True,
    variables={
        "quiet": QUIET,
        "line": "#2a3544",
        "block-cursor-background": "#26384c",
        "block-cursor-foreground": "#eaf1f8",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#1b2633",
        "block-cursor-blurred-foreground": INK,
        "footer-background": "#0f141a",
        "footer-key-foreground": ACCENT,
        "footer-description-foreground": QUIET,
        "border": "#4d6c8c",
        "border-blurred": "#2a3544",
        "scrollbar": "#2a3544",
        "scrollbar-hover": "#3a4a5e",
        "scrollbar-active": "#4d6c8c",
        "scrollbar-background": "#0f141a",
        "scrollbar-background-hover": "#0f141a",
        "scrollbar-background-active": "#0f141a",
        "scrollbar-corner-color": "#0f141a",
        "input-selection-background": "#4d6c8c 50%",
    },
)
