//! OpenSearch, asked for the one setting that limits searches in Timesketch. It never writes.
#![allow(missing_docs)]
pub struct Client;
impl Client {
    pub fn new(
        _s: &crate::config::delivery::OpensearchSettings,
        _c: Option<&std::path::Path>,
    ) -> Result<Option<Self>, crate::secret::SecretError> {
        Ok(None)
    }
}
