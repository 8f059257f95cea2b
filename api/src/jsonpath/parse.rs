//! Text to nodes.

use serde_json::Value;

use super::{Comparison, JsonPathError, MAX_DEPTH, Node, Operand, Step};

/// Parses a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, JsonPathError> {
    let mut stack: Vec<(Vec<Node>, Option<(bool, Vec<Step>)>)> = vec![(Vec::new(), None)];
    let mut rest = text;
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            push(&mut stack, Node::Text(rest.to_owned()));
            break;
        };
        if open > 0 {
            push(&mut stack, Node::Text(rest[..open].to_owned()));
        }
        let close = action_end(&rest[open + 1..])?;
        let action = rest[open + 1..open + 1 + close].trim();
        rest = &rest[open + 1 + close + 1..];
        if action == "end" {
            let (body, range) = stack.pop().ok_or(JsonPathError::NotInRange)?;
            let (from_root, steps) = range.ok_or(JsonPathError::NotInRange)?;
            push(&mut stack, Node::Range { from_root, steps, body });
        } else if let Some(path) = action.strip_prefix("range ") {
            if stack.len() >= MAX_DEPTH {
                return Err(JsonPathError::TooDeep);
            }
            let mut parser = Parser {
                text: path.trim(),
                depth: 0,
            };
            let range = parser.path()?;
            stack.push((Vec::new(), Some(range)));
        } else {
            for node in (Parser { text: action, depth: 0 }).action()? {
                push(&mut stack, node);
            }
        }
    }
    match (stack.pop(), stack.is_empty()) {
        (Some((nodes, None)), true) => Ok(nodes),
        _ => Err(JsonPathError::Unterminated("range")),
    }
}

fn push(stack: &mut [(Vec<Node>, Option<(bool, Vec<Step>)>)], node: Node) {
    if let Some((nodes, _)) = stack.last_mut() {
        nodes.push(node);
    }
}

/// Finds the brace that closes an action, past quotes.
fn action_end(text: &str) -> Result<usize, JsonPathError> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Ok(at),
            _ => {}
        }
    }
    Err(JsonPathError::Unclosed)
}

struct Parser<'a> {
    text: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn action(&mut self) -> Result<Vec<Node>, JsonPathError> {
        let mut nodes = Vec::new();
        while !self.text.trim_start().is_empty() {
            self.text = self.text.trim_start();
            if self.text.starts_with(['"', '\'']) {
                nodes.push(Node::Text(self.quoted()?));
            } else {
                let (from_root, steps) = self.path()?;
                nodes.push(Node::Path { from_root, steps });
            }
        }
        Ok(nodes)
    }

    fn quoted(&mut self) -> Result<String, JsonPathError> {
        let mut chars = self.text.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.text = &self.text[at + c.len_utf8()..];
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => break,
            }
        }
        Err(JsonPathError::Unterminated("quoted string"))
    }

    /// Reads `$.a.b[0]`, `@.a`, `.a`, `a.b`, `[*]`.
    fn path(&mut self) -> Result<(bool, Vec<Step>), JsonPathError> {
        let mut from_root = false;
        if let Some(rest) = self.text.strip_prefix('$') {
            (from_root, self.text) = (true, rest);
        } else if let Some(rest) = self.text.strip_prefix('@') {
            self.text = rest;
        } else if self.text.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            let name = self.name()?;
            let mut steps = vec![Step::Field(name)];
            self.steps(&mut steps)?;
            return Ok((false, steps));
        }
        let mut steps = Vec::new();
        self.steps(&mut steps)?;
        Ok((from_root, steps))
    }

    fn steps(&mut self, steps: &mut Vec<Step>) -> Result<(), JsonPathError> {
        let start = steps.len();
        loop {
            if let Some(rest) = self.text.strip_prefix("..") {
                self.text = rest;
                steps.push(Step::Recursive);
                if self.text.starts_with('[') {
                    continue;
                }
                self.field(steps)?;
            } else if let Some(rest) = self.text.strip_prefix('.') {
                self.text = rest;
                if self.text.is_empty() || self.text.starts_with(['[', ' ', ')', ']']) {
                    continue;
                }
                self.field(steps)?;
            } else if let Some(rest) = self.text.strip_prefix('[') {
                self.text = rest;
                steps.push(self.bracket()?);
            } else if steps.len() == start
                && start == 0
                && !self.text.is_empty()
                && !self.text.starts_with([' ', ')', '=', '!', '<', '>'])
            {
                return Err(JsonPathError::Unexpected(self.text.chars().take(1).collect()));
            } else {
                return Ok(());
            }
        }
    }

    fn field(&mut self, steps: &mut Vec<Step>) -> Result<(), JsonPathError> {
        if let Some(rest) = self.text.strip_prefix('*') {
            self.text = rest;
            steps.push(Step::Wildcard);
        } else {
            steps.push(Step::Field(self.name()?));
        }
        Ok(())
    }

    /// A field's name; a backslash takes the next character as it is, so that `kubernetes\.io/hostname` is one name.
    fn name(&mut self) -> Result<String, JsonPathError> {
        let mut out = String::new();
        let mut chars = self.text.char_indices();
        let mut end = self.text.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => out.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ' ' | ')' | '(' | '=' | '!' | '<' | '>' | ',' | '"' | '\'' | '{' | '}' | '$'
                | '@' | '*' => {
                    end = at;
                    break;
                }
                c => out.push(c),
            }
        }
        if end == 0 {
            return Err(JsonPathError::Unexpected(self.text.chars().take(1).collect()));
        }
        self.text = &self.text[end..];
        Ok(out)
    }

    fn bracket(&mut self) -> Result<Step, JsonPathError> {
        if let Some(rest) = self.text.strip_prefix("?(") {
            self.text = rest;
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(JsonPathError::TooDeep);
            }
            let step = self.filter()?;
            self.depth -= 1;
            self.text = self
                .text
                .strip_prefix(")]")
                .ok_or(JsonPathError::Unterminated("filter"))?;
            return Ok(step);
        }
        let mut parts = Vec::new();
        loop {
            self.text = self.text.trim_start();
            if self.text.starts_with(['"', '\'']) {
                parts.push(Step::Field(self.quoted()?));
            } else {
                let end = self.text.find([',', ']']).ok_or(JsonPathError::Unterminated("array"))?;
                let part = self.text[..end].trim();
                parts.push(index(part)?);
                self.text = &self.text[end..];
            }
            self.text = self.text.trim_start();
            if let Some(rest) = self.text.strip_prefix(',') {
                self.text = rest;
            } else {
                self.text = self
                    .text
                    .strip_prefix(']')
                    .ok_or(JsonPathError::Unterminated("array"))?;
                break;
            }
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Step::Union(parts)
        })
    }

    fn filter(&mut self) -> Result<Step, JsonPathError> {
        let left = self.operand()?;
        self.text = self.text.trim_start();
        const COMPARISONS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in COMPARISONS {
            if let Some(rest) = self.text.strip_prefix(sign) {
                self.text = rest;
                let right = self.operand()?;
                self.text = self.text.trim_start();
                return Ok(Step::Filter {
                    left,
                    test: Some((comparison, right)),
                });
            }
        }
        Ok(Step::Filter { left, test: None })
    }

    fn operand(&mut self) -> Result<Operand, JsonPathError> {
        self.text = self.text.trim_start();
        if self.text.starts_with(['"', '\'']) {
            return Ok(Operand::Literal(Value::String(self.quoted()?)));
        }
        if self.text.starts_with(['@', '$', '.']) {
            let (from_root, steps) = self.path()?;
            return Ok(Operand::Path { from_root, steps });
        }
        let end = self
            .text
            .find([' ', ')', '=', '!', '<', '>'])
            .ok_or(JsonPathError::Unterminated("filter"))?;
        let word = &self.text[..end];
        let literal = serde_json::from_str(word).map_err(|_| JsonPathError::Unexpected(word.to_owned()))?;
        self.text = &self.text[end..];
        Ok(Operand::Literal(literal))
    }
}

/// `*`, `3`, `-1`, `1:3`, `::2`, or a bare name.
fn index(part: &str) -> Result<Step, JsonPathError> {
    let wrong = || JsonPathError::BadIndex(part.to_owned());
    if part == "*" {
        return Ok(Step::Wildcard);
    }
    if let Ok(index) = part.parse() {
        return Ok(Step::Index(index));
    }
    let pieces: Vec<&str> = part.split(':').collect();
    if !(2..=3).contains(&pieces.len()) {
        return Err(wrong());
    }
    let number = |text: &str| {
        if text.is_empty() {
            Ok(None)
        } else {
            text.parse().map(Some).map_err(|_| wrong())
        }
    };
    let step = pieces.get(2).map_or(Ok(None), |text| number(text))?.unwrap_or(1);
    if step <= 0 {
        return Err(wrong());
    }
    Ok(Step::Slice {
        from: number(pieces[0])?,
        to: number(pieces[1])?,
        step,
    })
}
