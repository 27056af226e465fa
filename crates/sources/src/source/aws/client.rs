//! Adapts our HTTP client to the AWS SDK, so that calls to AWS use the same proxies, TLS and time-outs as all others.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::{Response, StatusCode},
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use http::Uri;

use crate::fetch::{Call, Client, Options, SetupError};

/// STS answers with some 3 KB.
const MAX_BYTES: usize = 1024 * 1024;

/// An HTTP client for the AWS SDK. The files of `options` are read when a server is asked for the first time.
pub fn sdk_client(options: Options) -> SharedHttpClient {
    SdkClient(Arc::new(Shared { options, clients: Mutex::default() })).into_shared()
}

#[derive(Clone)]
struct SdkClient(Arc<Shared>);

struct Shared {
    options: Options,
    /// One for each server, by scheme and authority. The SDK talks to two or three.
    clients: Mutex<HashMap<String, Arc<Client>>>,
}

impl Shared {
    fn client(&self, url: &Uri) -> Result<Arc<Client>, SetupError> {
        let server = format!("{:?} {:?}", url.scheme_str(), url.authority());
        // No code of ours panics while it is locked.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&server) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(url, &self.options)?);
        clients.insert(server, Arc::clone(&client));
        Ok(client)
    }
}

impl SdkClient {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: &dyn fmt::Display| ConnectorError::user(error.to_string().into());
        let request = request.try_into_http1x().map_err(|error| user(&error))?;
        let (head, body) = request.into_parts();
        let Some(body) = body.bytes() else { return Err(user(&"a body that is streamed")) };
        let client = self.0.client(&head.uri).map_err(|error| user(&error))?;
        let url = head.uri.to_string();
        let call = Call::new(head.method, &url).headers(head.headers).bytes(body).with_whole_errors();
        // Whether it was a time-out or a reset is in the message; for us both say nothing about the role.
        let answer = client
            .send(call, MAX_BYTES)
            .await
            .map_err(|error| ConnectorError::io(std::io::Error::other(error).into()))?;
        let status = StatusCode::try_from(answer.status.as_u16()).map_err(|error| user(&error))?;
        let mut response = Response::new(status, SdkBody::from(answer.body.as_slice()));
        for (name, value) in &answer.headers {
            if let Ok(value) = value.to_str() {
                response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }
}

impl HttpConnector for SdkClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move { this.exchange(request).await })
    }
}

impl HttpClient for SdkClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.clone().into_shared()
    }
}

impl fmt::Debug for SdkClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkClient")
    }
}
