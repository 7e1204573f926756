"""Draws docs/images/choosing.svg: which calculus, and under Real which method.

python docs/drawings/choosing.py
"""

from pathlib import Path

from style import BLUE, GREEN, GREY, INK, picture, text

OUTPUT = Path(__file__).parents[1] / "images" / "choosing.svg"
WIDTH, ROW, TOP = 540, 92, 70
ASK, ASKED, ANSWER, ANSWERED = 12, 272, 332, 196
# A question in two lines, and what to take if the answer is yes.
CALCULUS = (
    (
        "Does noise drive it,",
        "or do jumps at random times?",
        "ag.Stochastic",
        "ag.sde, ag.ensemble",
    ),
    ("Does it go in samples", "0, 1, 2, …?", "ag.Discrete", "ag.recurrence"),
    ("Do you want only", "where it comes to rest?", "ag.Steady", "ag.equilibrium"),
    ("Do you want only its", "coefficients at a point?", "ag.series", "ag.linearize"),
)
METHOD = (
    (
        "Was the status stiff, or do rates",
        "differ by thousands?",
        "ag.Radau()",
        "rtol=1e-6, and an atol",
    ),
    (
        "More than 64 numbers, or a",
        "network, or a rough answer?",
        "rtol=1e-4",
        "it takes Tsit5 or Dopri8",
    ),
    ("Are some digits enough?", "", "rtol=1e-8", "it takes Dopri8"),
)


def question(y: float, lines: tuple[str, str], answer: tuple[str, str], colour: str) -> list[str]:
    """A question, an arrow to the right for yes, one down for no."""
    middle = y + 32
    first, second = lines
    rows = [(first, middle - 4), (second, middle + 16)] if second else [(first, middle + 6)]
    return [
        f'<rect x="{ASK}" y="{y}" width="{ASKED}" height="64" rx="32" fill="#fff" '
        f'stroke="{GREY}" stroke-width="1.6"/>',
        *(text(ASK + ASKED / 2, place, words) for words, place in rows),
        f'<path d="M{ASK + ASKED},{middle} H{ANSWER - 6}" stroke="{INK}" '
        f'stroke-width="1.6" marker-end="url(#tip)"/>',
        text((ASK + ASKED + ANSWER) / 2 - 4, middle - 8, "yes", size=14, fill=GREY),
        f'<rect x="{ANSWER}" y="{y}" width="{ANSWERED}" height="64" rx="8" fill="{colour}"/>',
        text(ANSWER + ANSWERED / 2, middle - 4, answer[0], size=17, fill="#fff", weight="bold"),
        text(ANSWER + ANSWERED / 2, middle + 18, answer[1], size=14, fill="#fff"),
        f'<path d="M{ASK + ASKED / 2:g},{y + 64} V{y + ROW - 8}" stroke="{INK}" stroke-width="1.6" '
        f'marker-end="url(#tip)"/>',
        text(ASK + ASKED / 2 + 12, y + 82, "no", size=14, anchor="start", fill=GREY),
    ]


def chart() -> str:
    body = [
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 Z" fill="{INK}"/></marker></defs>',
        text(ASK, 34, "Which calculus?", size=20, anchor="start", weight="bold"),
    ]
    y = TOP - 16
    for first, second, name, form in CALCULUS:
        body += question(y, (first, second), (name, form), BLUE)
        y += ROW
    body += [
        f'<rect x="{ASK}" y="{y}" width="{ASKED}" height="50" rx="8" fill="{BLUE}"/>',
        text(
            ASK + ASKED / 2, y + 32, "ag.Real, by ag.simulate", size=17, fill="#fff", weight="bold"
        ),
        text(ANSWER, y + 32, "Which method?", size=20, anchor="start", weight="bold"),
        f'<path d="M{ASK + ASKED / 2:g},{y + 50} V{y + 78}" stroke="{INK}" stroke-width="1.6" '
        f'marker-end="url(#tip)"/>',
    ]
    y += 86
    for first, second, name, form in METHOD:
        body += question(y, (first, second), (name, form), GREEN)
        y += ROW
    body += [
        f'<rect x="{ASK}" y="{y}" width="{ASKED}" height="64" rx="8" fill="{GREEN}"/>',
        text(ASK + ASKED / 2, y + 28, "no options", size=17, fill="#fff", weight="bold"),
        text(ASK + ASKED / 2, y + 50, "to the last digit, by ag.Taylor", size=14, fill="#fff"),
    ]
    title = "A flow chart of questions that lead to a calculus and to a method of steps"
    return picture(WIDTH, y + 84, title, body)


if __name__ == "__main__":
    OUTPUT.write_text(chart(), encoding="utf-8")
