//! TokenReview and SelfSubjectReview: questions about identity as API objects that are answered, never stored.

use serde_json::{Value, json};

use super::{Authenticator, authenticated};
use crate::error::ApiError;
use crate::identity::UserInfo;

/// A user as `authentication.k8s.io/v1` UserInfo; fields that are empty are left out.
pub fn user_json(user: &UserInfo) -> Value {
    let mut json = json!({"username": user.username});
    if !user.uid.is_empty() {
        json["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        json["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        json["extra"] = json!(user.extra);
    }
    json
}

/// Answers a SelfSubjectReview: returns the object with its status.
pub fn self_subject_review(user: &UserInfo, mut object: Value) -> Value {
    object["status"] = json!({"userInfo": user_json(user)});
    object
}

/// Answers a TokenReview: returns the object with its status.
///
/// *Errors:* a review without a token is a bad request; a token that is not accepted is an answer, not an error.
pub async fn token_review(authenticator: &Authenticator, mut object: Value) -> Result<Value, ApiError> {
    let token = object["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let asked: Vec<String> = object["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let audiences = if asked.is_empty() {
        &authenticator.config.api_audiences
    } else {
        &asked
    };
    object["status"] = match authenticator.token(token, audiences).await {
        Ok((user, meant)) => json!({
            "authenticated": true,
            "user": user_json(&authenticated(user)),
            "audiences": meant,
        }),
        Err(error) => json!({"authenticated": false, "user": {}, "error": error.to_string()}),
    };
    Ok(object)
}
