//! Flags about who is let in, what tokens say, and what is logged of it all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use timonel_apiserver::Config;
use timonel_apiserver::audit::{AuditConfig, LogConfig, Policy};
use timonel_apiserver::authn::{KeyFile, OidcConfig, StaticTokens};

/// Who is let in, and what is logged.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// A file of users for tests, one a line: `token,user,uid,"group1,group2"`.
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Service-account tokens.
    #[command(flatten)]
    pub service_accounts: ServiceAccountArgs,
    /// An issuer outside the cluster.
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// The audit log.
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// What the server's own tokens say.
#[derive(Debug, Args)]
pub struct ServiceAccountArgs {
    /// The `iss` of service-account tokens; `https://kubernetes.default.svc.` and the cluster's domain by default.
    #[arg(long)]
    pub service_account_issuer: Option<String>,
    /// Files of public or private keys that tokens may be signed with, RSA or ECDSA; may be repeated. The key that signs need not be among
    /// them. A key that no longer signs stays here until its tokens have expired.
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// The private key that signs tokens; the one in the data directory by default.
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Where others fetch the keys that verify them; this server's `/openid/v1/jwks` by default.
    #[arg(long)]
    pub service_account_jwks_uri: Option<String>,
    /// The audiences that this server answers to; the issuer by default.
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// The longest life of a token that may be asked for, in seconds.
    #[arg(long, default_value_t = 365 * 24 * 3600, value_parser = clap::value_parser!(i64).range(3600..=(1 << 32)))]
    pub service_account_max_token_expiration_seconds: i64,
}

/// An OpenID Connect issuer whose ID tokens are accepted.
#[derive(Debug, Args)]
pub struct OidcArgs {
    /// The issuer's URL, as the tokens' `iss` has it; https.
    #[arg(long, requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The client that the tokens must be issued for.
    #[arg(long, requires = "oidc_issuer_url", default_value = "", hide_default_value = true)]
    pub oidc_client_id: String,
    /// The claim that is the user's name.
    #[arg(long, default_value = "sub")]
    pub oidc_username_claim: String,
    /// What goes before the name; `-` for nothing. By default the issuer's URL and `#`, but nothing for `email`.
    #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub oidc_username_prefix: String,
    /// The claim that lists the user's groups.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub oidc_groups_claim: String,
    /// What goes before each group.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub oidc_groups_prefix: String,
    /// A claim that must be there with just this value: `key=value`; may be repeated.
    #[arg(long, value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    /// What the issuer's certificate is verified by; the system's authorities by default.
    #[arg(long)]
    pub oidc_ca_file: Option<PathBuf>,
    /// The algorithms that tokens may be signed with.
    #[arg(long, value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
}

/// The audit log: none without a policy.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What is logged: an `audit.k8s.io/v1` Policy.
    #[arg(long, requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where it is logged; `-` for standard output.
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,
    /// How an event is written; upstream's `legacy` is not offered.
    #[arg(long, default_value = "json", value_parser = ["json"])]
    pub audit_log_format: String,
    /// How events get to the log: requests never wait for it. Upstream's `blocking` and `blocking-strict` are not offered.
    #[arg(long, default_value = "batch", value_parser = ["batch"])]
    pub audit_log_mode: String,
    /// A log that would grow larger than so many megabytes is put aside.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub audit_log_maxsize: u64,
    /// So many logs that were put aside are kept; 0 keeps all.
    #[arg(long, default_value_t = 100)]
    pub audit_log_maxbackup: usize,
    /// And so many days; 0 keeps them for ever.
    #[arg(long, default_value_t = 366)]
    pub audit_log_maxage: u32,
}

fn text(path: &Path, flag: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("--{flag}: read {}", path.display()))
}

impl AccessArgs {
    /// Puts what the flags say into the server's settings. `url` is where the server is reached.
    pub(crate) fn apply(&self, config: &mut Config, url: &str) -> anyhow::Result<()> {
        let accounts = &self.service_accounts;
        let authn = &mut config.authn;
        authn.issuer = match &accounts.service_account_issuer {
            Some(issuer) => issuer.clone(),
            None => format!("https://kubernetes.default.svc.{}", config.pki.cluster_domain),
        };
        let jwks = accounts.service_account_jwks_uri.clone();
        authn.jwks_uri = jwks.unwrap_or_else(|| format!("{url}/openid/v1/jwks"));
        authn.api_audiences.clone_from(&accounts.api_audiences);
        if authn.api_audiences.is_empty() {
            authn.api_audiences.push(authn.issuer.clone());
        }
        let key = |path: &PathBuf, flag: &str| -> anyhow::Result<KeyFile> {
            Ok(KeyFile {
                file: path.display().to_string(),
                text: text(path, flag)?,
            })
        };
        if let Some(path) = &accounts.service_account_signing_key_file {
            authn.signing_key = Some(key(path, "service-account-signing-key-file")?);
        }
        for path in &accounts.service_account_key_file {
            authn.verifying_keys.push(key(path, "service-account-key-file")?);
        }
        authn.max_token_seconds = accounts.service_account_max_token_expiration_seconds;
        if let Some(path) = &self.token_auth_file {
            let tokens = StaticTokens::parse(&text(path, "token-auth-file")?);
            authn.static_tokens = tokens.with_context(|| format!("--token-auth-file: {}", path.display()))?;
        }
        authn.oidc = self.oidc.config()?;
        config.audit = self.audit.config()?;
        Ok(())
    }
}

impl OidcArgs {
    fn config(&self) -> anyhow::Result<Option<OidcConfig>> {
        let Some(issuer_url) = self.oidc_issuer_url.clone() else {
            return Ok(None);
        };
        let mut required_claims = BTreeMap::new();
        for claim in &self.oidc_required_claim {
            let (name, value) = claim
                .split_once('=')
                .with_context(|| format!("--oidc-required-claim: {claim:?} is no key=value"))?;
            required_claims.insert(name.to_owned(), value.to_owned());
        }
        let ca_pem = match &self.oidc_ca_file {
            Some(path) => Some(text(path, "oidc-ca-file")?),
            None => None,
        };
        Ok(Some(OidcConfig {
            issuer_url,
            client_id: self.oidc_client_id.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required_claims,
            ca_pem,
            signing_algs: self.oidc_signing_algs.clone(),
        }))
    }
}

impl AuditArgs {
    fn config(&self) -> anyhow::Result<Option<AuditConfig>> {
        let Some(path) = &self.audit_policy_file else {
            return Ok(None);
        };
        let policy = Policy::parse(text(path, "audit-policy-file")?.as_bytes())
            .with_context(|| format!("--audit-policy-file: {}", path.display()))?;
        Ok(Some(AuditConfig {
            policy,
            log: LogConfig {
                path: self.audit_log_path.clone().filter(|path| path != Path::new("-")),
                max_bytes: self.audit_log_maxsize << 20,
                max_backups: self.audit_log_maxbackup,
                max_days: self.audit_log_maxage,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Command;

    fn access(flags: &[&str]) -> Result<AccessArgs, clap::Error> {
        match Command::try_parse_from([&["timonel", "apiserver"][..], flags].concat())? {
            Command::Apiserver(args) => Ok(args.access),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_are_understood_as_upstream_means_them() {
        Command::command().debug_assert();
        assert!(access(&["--audit-policy-file", "p"]).is_err(), "where to?");
        assert!(access(&["--audit-log-maxsize", "0"]).is_err());
        assert!(access(&["--audit-log-format=json", "--audit-log-mode=batch"]).is_ok());
        assert!(access(&["--audit-log-mode=blocking"]).is_err());
        let keys = access(&["--service-account-key-file=a", "--service-account-key-file=b"]).unwrap();
        assert_eq!(keys.service_accounts.service_account_key_file.len(), 2);
        let args = access(&[
            "--oidc-issuer-url=https://i",
            "--oidc-client-id=c",
            "--oidc-username-prefix",
            "-",
        ])
        .unwrap();
        let oidc = args.oidc.config().unwrap().unwrap();
        assert_eq!(
            (oidc.username_prefix.as_str(), oidc.username_claim.as_str()),
            ("-", "sub")
        );
        let wrong = access(&[
            "--oidc-issuer-url=https://i",
            "--oidc-client-id=c",
            "--oidc-required-claim=x",
        ])
        .unwrap();
        assert!(
            wrong
                .oidc
                .config()
                .unwrap_err()
                .to_string()
                .contains("--oidc-required-claim")
        );
    }

    #[test]
    fn tokens_are_issued_for_the_clusters_domain_and_their_keys_are_found_here() {
        let mut config = Config::default();
        config.pki.cluster_domain = "example.org".to_owned();
        access(&[])
            .unwrap()
            .apply(&mut config, "https://192.0.2.1:6443")
            .unwrap();
        assert_eq!(config.authn.issuer, "https://kubernetes.default.svc.example.org");
        assert_eq!(config.authn.api_audiences, [config.authn.issuer.clone()]);
        assert_eq!(config.authn.jwks_uri, "https://192.0.2.1:6443/openid/v1/jwks");
        assert!(config.audit.is_none() && config.authn.oidc.is_none());
    }
}
