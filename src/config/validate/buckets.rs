//! What the types cannot say about buckets.

use std::path::PathBuf;

use url::Url;

use super::notify::{NOT_A_VARIABLE, is_written_out};
use super::{AT_LEAST_ONE, Checker, NOT_ZERO};
use crate::base::units::ByteSize;
use crate::config::bucket::{BucketAddress, StoreSpec};
use crate::config::model::Expanded;
use crate::config::variables::Variables;

const NO_ENDPOINT: &str = "must be the address of a store, like https://host or http://host:9000";
const NO_REGION: &str = "a region is made of letters, digits and `-`";

/// One side of a sync: the path of its keys begins with this.
pub(super) type Side<'s> = [&'s str; 3];

impl Checker<'_> {
    /// Gives what is said of a bucket its values; what is not said comes from the variables that AWS's programs read.
    pub(super) fn expand_bucket(
        &mut self,
        side: Side<'_>,
        bucket: &mut Option<Expanded>,
        store: &mut Option<StoreSpec>,
        variables: &Variables,
    ) {
        let [syncs, name, key] = side;
        if let Some(bucket) = bucket {
            self.replace(&[syncs, name, key, "bucket"], bucket, variables.expand(bucket.written()));
            store.get_or_insert_default();
        }
        let Some(store) = store else { return };
        let StoreSpec { endpoint, region, access_key, secret_key, session_token, .. } = store;
        let fields = [
            ("endpoint", endpoint),
            ("region", region),
            ("access_key", access_key),
            ("secret_key", secret_key),
            ("session_token", session_token),
        ];
        for (field, text) in fields {
            if let Some(text) = text {
                self.replace(&[syncs, name, key, "store", field], text, variables.expand(text.written()));
            }
        }
        if bucket.as_ref().is_some_and(|bucket| bucket.value().starts_with("s3://")) {
            fill(store, variables);
        }
    }

    /// Checks what is said of a bucket; answers where its objects are, for comparison with others.
    pub(super) fn check_bucket(
        &mut self,
        side: Side<'_>,
        bucket: Option<&Expanded>,
        store: Option<&StoreSpec>,
    ) -> Option<PathBuf> {
        let [syncs, name, key] = side;
        let at = |field| [syncs, name, key, field];
        let Some(bucket) = bucket else {
            if self.is_set(&at("store")) {
                self.report_key(&at("store"), "only has a meaning beside `bucket`");
            }
            return None;
        };
        let address = bucket.value().parse::<BucketAddress>();
        if let Some(problem) = address.as_ref().err().filter(|_| self.find(&at("bucket")).is_some()) {
            self.report_value(&at("bucket"), problem);
        }
        let store = store?;
        self.check_store(side, store);
        Some(match address.ok()? {
            BucketAddress::Fs { path } => super::syncs::normal(&path),
            BucketAddress::S3 { name, prefix } => {
                let endpoint = store.endpoint.as_ref().map(Expanded::value).unwrap_or_default();
                PathBuf::from(format!("s3:/{endpoint}/{name}/{prefix}"))
            }
        })
    }

    fn check_store(&mut self, side: Side<'_>, store: &StoreSpec) {
        let [syncs, name, key] = side;
        let at = |field| [syncs, name, key, "store", field];
        if store.endpoint.as_ref().is_some_and(|endpoint| !is_endpoint(endpoint.value())) {
            self.report_value(&at("endpoint"), NO_ENDPOINT);
        }
        let is_region =
            |region: &str| !region.is_empty() && region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if store.region.as_ref().is_some_and(|region| !is_region(region.value())) {
            self.report_value(&at("region"), NO_REGION);
        }
        let keys = [
            ("access_key", &store.access_key),
            ("secret_key", &store.secret_key),
            ("session_token", &store.session_token),
        ];
        for (field, text) in keys {
            if text.as_ref().is_some_and(is_written_out) {
                self.report_value(&at(field), NOT_A_VARIABLE);
            } else if text.is_some() && store.anonymous {
                self.report_key(&at(field), "has no meaning beside `anonymous: true`");
            }
        }
        match (&store.access_key, &store.secret_key) {
            (Some(_), None) => self.report_key(&at("access_key"), "needs a `secret_key` beside it"),
            (None, Some(_)) => self.report_key(&at("secret_key"), "needs an `access_key` beside it"),
            _ => {}
        }
        if store.parallel == 0 {
            self.report_value(&at("parallel"), AT_LEAST_ONE);
        } else if store.parallel > StoreSpec::PARALLEL_LIMIT {
            self.report_value(&at("parallel"), &format!("must be {} at most", StoreSpec::PARALLEL_LIMIT));
        }
        if store.bandwidth.is_some_and(|limit| limit.0 == 0) {
            self.report_value(&at("bandwidth"), "must be more than 0B");
        }
        let [least, most] = StoreSpec::PART_LIMITS_BYTES;
        if !(least..=most).contains(&store.part_size.0) {
            self.report_value(&at("part_size"), &format!("must be {} to {}", ByteSize(least), ByteSize(most)));
        }
        if store.timeout.0.is_zero() {
            self.report_value(&at("timeout"), NOT_ZERO);
        }
    }
}

/// Takes what is not said from the environment; keys only together.
fn fill(store: &mut StoreSpec, variables: &Variables) {
    let of = |name: &str| {
        let value = variables.get(name).filter(|value| !value.is_empty())?;
        Some(Expanded::new(format!("${{{name}}}"), value))
    };
    let StoreSpec { endpoint, region, access_key, secret_key, session_token, .. } = store;
    for text in [endpoint, region, access_key, secret_key, session_token] {
        // What variables make empty is not said.
        text.take_if(|text| text.value().is_empty() && !is_written_out(text));
    }
    let first = |names: [&str; 2]| names.into_iter().find_map(of);
    if store.endpoint.is_none() {
        store.endpoint = first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    }
    if store.region.is_none() {
        store.region = first(["AWS_REGION", "AWS_DEFAULT_REGION"]);
    }
    if store.anonymous || store.access_key.is_some() || store.secret_key.is_some() {
        return;
    }
    if let (Some(access), Some(secret)) = (of("AWS_ACCESS_KEY_ID"), of("AWS_SECRET_ACCESS_KEY")) {
        (store.access_key, store.secret_key) = (Some(access), Some(secret));
        store.session_token = store.session_token.take().or_else(|| of("AWS_SESSION_TOKEN"));
    }
}

fn is_endpoint(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_bare = url.username().is_empty() && url.password().is_none();
    let is_bare = is_bare && url.query().is_none() && url.fragment().is_none();
    is_bare && matches!(url.scheme(), "http" | "https") && url.has_host()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(store: StoreSpec, variables: &[(&str, &str)]) -> StoreSpec {
        let mut store = store;
        fill(
            &mut store,
            &Variables::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))),
        );
        store
    }

    #[test]
    fn what_is_not_said_comes_from_the_variables_of_awss_programs() {
        let all = [
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SESSION_TOKEN", "t"),
            ("AWS_DEFAULT_REGION", "eu-1"),
            ("AWS_ENDPOINT_URL", "http://one"),
            ("AWS_ENDPOINT_URL_S3", "http://two"),
        ];
        let store = filled(StoreSpec::default(), &all);
        let value = |text: &Option<Expanded>| text.as_ref().map(|text| text.value().to_owned());
        assert_eq!(value(&store.access_key).as_deref(), Some("a"));
        assert_eq!(value(&store.secret_key).as_deref(), Some("s"));
        assert_eq!(value(&store.session_token).as_deref(), Some("t"));
        assert_eq!(value(&store.region).as_deref(), Some("eu-1"));
        assert_eq!(value(&store.endpoint).as_deref(), Some("http://two"));
        assert!(!format!("{store:?}").contains("\"s\""), "{store:?}");
        let own = StoreSpec {
            access_key: Some(Expanded::new("${MINE}", "mine")),
            secret_key: Some(Expanded::new("${ALSO}", "also")),
            ..StoreSpec::default()
        };
        let store = filled(own, &all);
        assert_eq!((value(&store.access_key).as_deref(), store.session_token), (Some("mine"), None));
        let store = filled(StoreSpec::default(), &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "")]);
        assert_eq!((store.access_key, store.secret_key), (None, None), "keys come together");
        let empty = StoreSpec {
            access_key: Some(Expanded::new("${MINE:-}", "")),
            secret_key: Some(Expanded::new("${ALSO:-}", "")),
            ..StoreSpec::default()
        };
        assert_eq!(value(&filled(empty, &all).access_key).as_deref(), Some("a"), "what is empty is not said");
        let store = filled(StoreSpec { anonymous: true, ..StoreSpec::default() }, &all);
        assert_eq!(store.access_key, None);
    }

    #[test]
    fn an_endpoint_holds_no_secret() {
        assert!(is_endpoint("https://host") && is_endpoint("http://127.0.0.1:9000/"));
        for text in ["host:9000", "ftp://host", "https://key:secret@host", "https://host?x=1", ""] {
            assert!(!is_endpoint(text), "{text}");
        }
    }
}
