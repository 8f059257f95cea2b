//! Text to nodes.

use serde_json::Value;

use super::{Comparison, JsonPathError, MAX_DEPTH, Node, Slice, Step};

/// What an action turns out to be.
enum Action {
    Steps(Vec<Step>),
    Range(Vec<Step>),
    End,
}

/// A `{range}` that waits for its `{end}`, with what stood before it.
struct Open {
    before: Vec<Node>,
    steps: Vec<Step>,
}

/// Parses a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, JsonPathError> {
    let mut open: Vec<Open> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while let Some(brace) = rest.find('{') {
        if brace > 0 {
            nodes.push(Node::Text(rest[..brace].to_owned()));
        }
        let (action, after) = action(&rest[brace + 1..], 0)?;
        rest = after;
        match action {
            Action::Steps(steps) => nodes.push(Node::Action(steps)),
            Action::Range(steps) => {
                if open.len() >= MAX_DEPTH {
                    return Err(JsonPathError::TooDeep);
                }
                let before = std::mem::take(&mut nodes);
                open.push(Open { before, steps });
            }
            Action::End => {
                let Open { before, steps } = open.pop().ok_or(JsonPathError::NotInRange)?;
                let body = std::mem::replace(&mut nodes, before);
                nodes.push(Node::Range { steps, body });
            }
        }
    }
    if !rest.is_empty() {
        nodes.push(Node::Text(rest.to_owned()));
    }
    // A range that is never ended goes on to the end of the template.
    while let Some(Open { before, steps }) = open.pop() {
        let body = std::mem::replace(&mut nodes, before);
        nodes.push(Node::Range { steps, body });
    }
    Ok(nodes)
}

/// Parses a text as if it stood in braces.
fn inner(text: &str, depth: usize) -> Result<Vec<Step>, JsonPathError> {
    if depth > MAX_DEPTH {
        return Err(JsonPathError::TooDeep);
    }
    let braced = format!("{text}}}");
    match action(&braced, depth)?.0 {
        Action::Steps(steps) => Ok(steps),
        Action::Range(_) => Err(JsonPathError::Identifier("range".to_owned())),
        Action::End => Err(JsonPathError::Identifier("end".to_owned())),
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a character ends a name.
fn ends_name(c: char) -> bool {
    " \t\r\n.,[]$@{}".contains(c)
}

/// Parses an action behind its opening brace; returns what stands behind its closing brace.
fn action(text: &str, depth: usize) -> Result<(Action, &str), JsonPathError> {
    let mut steps = Vec::new();
    let mut range = false;
    let mut ends = false;
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(match (ends, range) {
                (true, _) => (Action::End, after),
                (false, true) => (Action::Range(steps), after),
                (false, false) => (Action::Steps(steps), after),
            });
        }
        if let Some(after) = rest.strip_prefix("[?(") {
            rest = filter(after, depth, &mut steps)?;
            continue;
        }
        if let Some(after) = rest.strip_prefix("..") {
            if steps.last() == Some(&Step::Recursive) {
                return Err(JsonPathError::RecursiveTwice);
            }
            steps.push(Step::Recursive);
            rest = after;
            if rest.starts_with(is_word) {
                rest = field(rest, &mut steps);
            }
            continue;
        }
        let Some(c) = rest.chars().next().filter(|c| !matches!(c, '\n' | '\r')) else {
            return Err(JsonPathError::Unclosed);
        };
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ' ' | '@' | '$' => after,
            '[' => array(after, depth, &mut steps)?,
            '"' | '\'' => quoted(rest, c, &mut steps)?,
            '.' => field(after, &mut steps),
            '+' | '-' | '0'..='9' => number(rest, &mut steps)?,
            c if is_word(c) => {
                let end = rest.find(ends_name).unwrap_or(rest.len());
                match &rest[..end] {
                    "true" => steps.push(Step::Literal(Value::Bool(true))),
                    "false" => steps.push(Step::Literal(Value::Bool(false))),
                    "range" if steps.is_empty() => range = true,
                    "end" => ends = true,
                    other => return Err(JsonPathError::Identifier(other.to_owned())),
                }
                &rest[end..]
            }
            c => {
                return Err(JsonPathError::Unexpected(format!("U+{:04X} '{c}'", u32::from(c))));
            }
        };
    }
}

/// A field's name, behind its dot; a backslash takes the next character as it is, so that `kubernetes\.io/hostname` is one name.
fn field<'a>(text: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = !escaped && ends_name(*c);
        escaped = !escaped && *c == '\\';
        ends
    });
    let end = end.map_or(text.len(), |(at, _)| at);
    let name = &text[..end];
    if name == "*" {
        steps.push(Step::Wildcard);
    } else if !name.is_empty() {
        steps.push(Step::Field(name.replace('\\', "")));
    }
    &text[end..]
}

fn number<'a>(text: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, JsonPathError> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].find(|c: char| c != '.' && !c.is_ascii_digit());
    let end = digits.map_or(text.len(), |at| at + sign);
    let word = &text[..end];
    let value = match word.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => word
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| JsonPathError::BadNumber(word.to_owned()))?,
    };
    steps.push(Step::Literal(value));
    Ok(&text[end..])
}

fn quoted<'a>(text: &'a str, quote: char, steps: &mut Vec<Step>) -> Result<&'a str, JsonPathError> {
    let mut escaped = false;
    let end = text[1..].char_indices().find(|(_, c)| {
        let ends = !escaped && (*c == quote || *c == '\n');
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((at, c)) = end.filter(|(_, c)| *c == quote) else {
        return Err(JsonPathError::Unterminated("quoted string"));
    };
    let inside = &text[1..=at];
    let plain = unquote(inside).ok_or_else(|| JsonPathError::BadQuote(format!("{quote}{inside}{quote}")))?;
    steps.push(Step::Literal(Value::String(plain)));
    Ok(&text[1 + at + c.len_utf8()..])
}

/// Go's escape sequences.
fn unquote(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        let escape = chars.next()?;
        plain.push(match escape {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '\'' | '"' => escape,
            'x' | 'u' | 'U' => {
                let digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let hex: String = chars.by_ref().take(digits).collect();
                if hex.len() != digits {
                    return None;
                }
                char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
            }
            _ => return None,
        });
    }
    Some(plain)
}

/// What stands in brackets: `*`, an index, a slice, a name in quotes, or several of them.
fn array<'a>(text: &'a str, depth: usize, steps: &mut Vec<Step>) -> Result<&'a str, JsonPathError> {
    let end = text.find([']', '\n']).filter(|at| text[*at..].starts_with(']'));
    let end = end.ok_or(JsonPathError::Unterminated("array"))?;
    let (inside, after) = (&text[..end], &text[end + 1..]);
    if inside.contains(',') {
        let parts = inside
            .split(',')
            .map(|part| inner(&format!("[{}]", part.trim_matches(' ')), depth + 1));
        steps.push(Step::Union(parts.collect::<Result<_, _>>()?));
        return Ok(after);
    }
    let name = inside.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    if let Some(name) = name.filter(|name| !name.contains('\'')) {
        steps.extend(inner(&format!(".{name}"), depth + 1)?);
        return Ok(after);
    }
    steps.push(Step::Slice(slice(inside)?));
    Ok(after)
}

fn slice(inside: &str) -> Result<Slice, JsonPathError> {
    let wrong = || JsonPathError::BadIndex(inside.to_owned());
    let parts: Vec<&str> = if inside == "*" {
        vec!["", ""]
    } else {
        inside.split(':').collect()
    };
    if parts.len() > 3 {
        return Err(wrong());
    }
    let number = |at: usize| match parts.get(at) {
        None | Some(&"") => Ok(None),
        Some(text) if text.starts_with('+') => Err(wrong()),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| wrong()),
    };
    let (from, to) = (number(0)?, number(1)?);
    let single = parts.len() == 1;
    Ok(Slice {
        from,
        to: if single {
            Some(from.unwrap_or(0).saturating_add(1))
        } else {
            to
        },
        step: number(2)?,
        single,
    })
}

/// What stands between `[?(` and `)]`.
fn filter<'a>(text: &'a str, depth: usize, steps: &mut Vec<Step>) -> Result<&'a str, JsonPathError> {
    let mut quote = None;
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let (was_escaped, was_quoted) = (escaped, quote);
        escaped = !escaped && *c == '\\';
        match c {
            '"' | '\'' if was_quoted.is_none() => quote = Some(*c),
            c if was_quoted == Some(*c) && !was_escaped => quote = None,
            _ => {}
        }
        matches!(c, '\n') || (*c == ')' && was_quoted.is_none())
    });
    let Some((end, ')')) = end else {
        return Err(JsonPathError::Unterminated("filter"));
    };
    let inside = &text[..end];
    let after = text[end + 1..].strip_prefix(']').ok_or(JsonPathError::UnclosedFilter)?;
    let signs = |c: char| "!<>=".contains(c);
    let split = inside.find(signs).filter(|at| *at > 0).and_then(|at| {
        let length = inside[at..].find(|c| !signs(c))?;
        Some((&inside[..at], &inside[at..at + length], &inside[at + length..]))
    });
    steps.push(match split {
        None => Step::Filter {
            left: inner(inside, depth + 1)?,
            operator: None,
            right: Vec::new(),
        },
        Some((left, operator, right)) => Step::Filter {
            left: inner(left, depth + 1)?,
            operator: Some(match operator {
                "==" => Comparison::Equal,
                "!=" => Comparison::NotEqual,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                other => return Err(JsonPathError::Operator(other.to_owned())),
            }),
            right: inner(right, depth + 1)?,
        },
    });
    Ok(after)
}
