//! Users from a file, for tests and for clusters that have nothing better: `token,user,uid,"group1,group2"`, one a line
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file>).
//!
//! The file is read once; a change needs a restart, as upstream.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::identity::UserInfo;

/// Why a token file is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenFileError {
    /// A line has too little on it.
    #[error("line {line}: a token file must have at least 3 columns (token, user name, user uid), found {columns}")]
    Columns {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        columns: usize,
    },
    /// A quotation mark is missing, or stands where none may.
    #[error("line {line}: a quotation mark is out of place")]
    Quotes {
        /// Counted from 1.
        line: usize,
    },
}

/// Tokens and whom they stand for. They are kept as digests, so that looking one up tells nothing about the others.
#[derive(Clone, Default)]
pub struct StaticTokens(HashMap<[u8; 32], UserInfo>);

impl std::fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StaticTokens").field(&self.0.len()).finish()
    }
}

impl StaticTokens {
    /// Reads the text of a file. A token that is there twice counts as it is there last; a line without a token is passed over.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut tokens = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields = fields(line).ok_or(TokenFileError::Quotes { line: at + 1 })?;
            let [token, username, uid, rest @ ..] = fields.as_slice() else {
                return Err(TokenFileError::Columns {
                    line: at + 1,
                    columns: fields.len(),
                });
            };
            if token.is_empty() {
                tracing::warn!(line = at + 1, "an empty token in the token file is passed over");
                continue;
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let user = UserInfo {
                username: username.clone(),
                uid: uid.clone(),
                groups: groups
                    .split(',')
                    .filter(|group| !group.is_empty())
                    .map(str::to_owned)
                    .collect(),
                ..UserInfo::default()
            };
            if tokens.insert(Sha256::digest(token).into(), user).is_some() {
                tracing::warn!(line = at + 1, "a token in the token file is there twice");
            }
        }
        Ok(Self(tokens))
    }

    /// Whom a token stands for.
    pub(super) fn user(&self, token: &str) -> Option<UserInfo> {
        if self.0.is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.get(&digest).cloned()
    }
}

/// The fields of a line of CSV; `None` where quotation marks are out of place.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line.trim_end_matches('\r');
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut field = String::new();
                let mut quoted = quoted;
                loop {
                    let (part, after) = quoted.split_once('"')?;
                    field.push_str(part);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            quoted = more;
                        }
                        None => break (field, after),
                    }
                }
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_users_as_upstream_reads_them() {
        let text = "t1,jane,u1,\"dev,ops\"\n\nt2,\"o\"\"neil\",u2\n,nobody,u3\nt3,bot,,solo\r\nt1,jane2,u1\n";
        let tokens = StaticTokens::parse(text).unwrap();
        assert_eq!(tokens.user("t1").unwrap().username, "jane2", "the last one counts");
        assert_eq!(tokens.user("t2").unwrap().username, "o\"neil");
        let bot = tokens.user("t3").unwrap();
        assert_eq!((bot.uid.as_str(), bot.groups), ("", vec!["solo".to_owned()]));
        assert_eq!(tokens.user(""), None);
        assert_eq!(tokens.user("t4"), None);
        let jane = StaticTokens::parse("t,jane,u1,\"dev,ops\"").unwrap().user("t").unwrap();
        assert_eq!(jane.groups, ["dev", "ops"]);
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let refused = |text: &str| StaticTokens::parse(text).unwrap_err();
        assert_eq!(
            refused("t,jane,u\nt,jane"),
            TokenFileError::Columns { line: 2, columns: 2 }
        );
        assert_eq!(refused("t,jane,u,\"dev"), TokenFileError::Quotes { line: 1 });
        assert_eq!(refused("t,\"jane\"x,u"), TokenFileError::Quotes { line: 1 });
    }
}
