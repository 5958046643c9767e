//! Pure: drawing a text over the one that was drawn before, as `--watch` does on a terminal.

/// Cuts a text to what a terminal shows at once: lines to `columns`, and no more than `rows` of them; the last
/// line tells what is missing. The cursor stands in the row beneath, so that one stays free.
#[must_use]
pub fn fit(text: &str, columns: usize, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room {
        room - 1
    } else {
        lines.len()
    };
    let mut out = String::new();
    for line in &lines[..shown] {
        out.push_str(&cut(line, columns));
        out.push('\n');
    }
    if shown < lines.len() {
        let more = format!("({} more lines)", lines.len() - shown);
        out.push_str(&cut(&more, columns));
        out.push('\n');
    }
    out
}

/// Cuts a line; what is not ASCII may be two columns wide and is taken to be. Codes for bold text take none.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut in_code = false;
    for character in line.chars() {
        if character == '\u{1b}' {
            in_code = true;
        }
        if !in_code {
            used += if character.is_ascii() { 1 } else { 2 };
        }
        if used > columns && !in_code {
            continue;
        }
        out.push(character);
        if character.is_ascii_alphabetic() {
            in_code = false;
        }
    }
    out
}

/// What is written to put `text` where the last text of `previous_lines` lines stands.
#[must_use]
pub fn redraw(previous_lines: usize, text: &str) -> String {
    let up = match previous_lines {
        0 => String::new(),
        lines => format!("\u{1b}[{lines}A"),
    };
    format!("{up}\r\u{1b}[J{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_the_terminal_and_says_so() {
        let text = "one\ntwo two\nthree\nfour\n";
        assert_eq!(fit(text, 80, 5), text);
        assert_eq!(fit(text, 80, 4), "one\ntwo two\n(2 more lines)\n");
        assert_eq!(fit(text, 3, 5), "one\ntwo\nthr\nfou\n");
        assert_eq!(fit("界界界\n", 4, 5), "界界\n");
    }

    #[test]
    fn bold_ends_even_where_its_line_is_cut() {
        assert_eq!(
            fit("\u{1b}[1mabcdef\u{1b}[0m\n", 3, 5),
            "\u{1b}[1mabc\u{1b}[0m\n"
        );
    }

    #[test]
    fn drawing_again_begins_where_the_last_text_began() {
        assert_eq!(redraw(0, "a\n"), "\r\u{1b}[Ja\n");
        assert_eq!(redraw(3, "a\n"), "\u{1b}[3A\r\u{1b}[Ja\n");
    }
}
