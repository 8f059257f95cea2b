//! The grammar of label selectors, as `k8s.io/apimachinery/pkg/labels` reads it.

use std::collections::BTreeSet;

use super::label::{Operator, Requirement, SelectorError};
use crate::field::{FieldError, Path};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Error,
    Identifier,
    OpenParen,
    ClosedParen,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    GreaterThan,
    LessThan,
    NotEquals,
    In,
    NotIn,
}

const SPECIAL: &[u8] = b"=!(),><";

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::ClosedParen,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::GreaterThan,
        "<" => Token::LessThan,
        "!=" => Token::NotEquals,
        "(" => Token::OpenParen,
        _ => return None,
    })
}

/// Cuts a text into tokens. Operators are read greedily: `!=` is one, `=!` is two.
fn tokens(text: &str) -> Vec<(Token, &str)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        if byte.is_ascii_whitespace() {
            at += 1;
        } else if SPECIAL.contains(&byte) {
            let two = text.get(start..start + 2).and_then(symbol);
            at += if two.is_some() { 2 } else { 1 };
            let token = two.or_else(|| symbol(&text[start..at])).unwrap_or(Token::Error);
            found.push((token, &text[start..at]));
        } else {
            while bytes
                .get(at)
                .is_some_and(|b| !SPECIAL.contains(b) && !b.is_ascii_whitespace())
            {
                at += 1;
            }
            let word = &text[start..at];
            let token = match word {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            found.push((token, word));
        }
    }
    found
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek_operator(&self) -> (Token, &'a str) {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    /// Where no operator is expected, `in` and `notin` are words like any other.
    fn peek(&self) -> (Token, &'a str) {
        match self.peek_operator() {
            (Token::In | Token::NotIn, word) => (Token::Identifier, word),
            other => other,
        }
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let absent = token == Token::Not;
        if absent {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let wrong = names::qualified_name(key);
        if !wrong.is_empty() {
            return Err(FieldError::invalid(&Path::root(), key, wrong.join("; ")).to_string());
        }
        let made = |operator, values: BTreeSet<String>| {
            Requirement::new(key, operator, values).map_err(|error| error.to_string())
        };
        if absent {
            return made(Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return made(Operator::Exists, BTreeSet::new());
        }
        let (token, literal) = self.peek_operator();
        self.at += 1;
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::GreaterThan => Operator::GreaterThan,
            Token::LessThan => Operator::LessThan,
            _ => {
                return Err(format!("found '{literal}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        made(operator, values)
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.next() {
            (Token::Identifier, value) => Ok(BTreeSet::from([value.to_owned()])),
            (_, literal) => Err(format!("found '{literal}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            (Token::OpenParen, _) => {}
            (_, literal) => return Err(format!("found '{literal}' expected: '('")),
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, first) => {
                let values = self.identifiers()?;
                if self.next().0 == Token::ClosedParen {
                    Ok(values)
                } else {
                    Err(format!("found '{first}', expected: ')'"))
                }
            }
            (Token::ClosedParen, _) => {
                self.next();
                Ok(BTreeSet::from([String::new()]))
            }
            (_, literal) => Err(format!("found '{literal}', expected: ',', ')' or identifier")),
        }
    }

    /// A list in which items may be empty: `(,a)`, `(a,,b)`, `(a,)`.
    fn identifiers(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                (Token::Identifier, word) => {
                    values.insert(word.to_owned());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::ClosedParen, _) => return Ok(values),
                        (_, literal) => return Err(format!("found '{literal}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::ClosedParen => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.next();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, literal) => return Err(format!("found '{literal}', expected: ',', or identifier")),
            }
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::Identifier | Token::Not, _) => {
                requirements.push(parser.requirement().map_err(SelectorError::Requirement)?);
                match parser.next() {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => {
                        let (token, literal) = parser.peek();
                        if !matches!(token, Token::Identifier | Token::Not) {
                            return Err(SelectorError::Syntax(format!(
                                "found '{literal}', expected: identifier after ','"
                            )));
                        }
                    }
                    (_, literal) => {
                        return Err(SelectorError::Syntax(format!(
                            "found '{literal}', expected: ',' or 'end of string'"
                        )));
                    }
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, literal) => {
                return Err(SelectorError::Syntax(format!(
                    "found '{literal}', expected: !, identifier, or 'end of string'"
                )));
            }
        }
    }
}
