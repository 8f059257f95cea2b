//! Why a patch is refused.

/// Why a patch is refused; the variant decides the status code, the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400: the patch itself is malformed.
    #[error("{0}")]
    BadRequest(String),
    /// 422: the patch does not fit the object. Upstream hides this text behind "the server rejected our request due to an error in
    /// our request" for JSON patches; we give it.
    #[error("{0}")]
    Unprocessable(String),
    /// 413: the patch is too much work.
    #[error("{0}")]
    TooLarge(String),
}

impl PatchError {
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::BadRequest(text.into())
    }

    pub(super) fn unprocessable(text: impl Into<String>) -> Self {
        Self::Unprocessable(text.into())
    }

    /// The HTTP status code that upstream answers.
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unprocessable(_) => 422,
            Self::TooLarge(_) => 413,
        }
    }
}
