//! The calls of the notification service that this one makes, each with a deadline and a token.

use std::time::Duration;

use anyhow::{Context, anyhow};
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::contract::crown::notification::v1::ingest_service_client::IngestServiceClient;
use crate::contract::crown::notification::v1::realtime_service_client::RealtimeServiceClient;
use crate::contract::crown::notification::v1::{
    Address, DisconnectRequest, GetNotificationRequest, Notification, NotificationData,
    SendNotificationRequest,
};
use crate::contract::google::rpc;

const DEADLINE: Duration = Duration::from_secs(5);

pub struct Notifier {
    channel: Channel,
}

impl Notifier {
    /// Connects to the gateway at `target`, a host and a port.
    pub async fn connect(target: &str) -> anyhow::Result<Notifier> {
        let endpoint = Endpoint::from_shared(format!("http://{target}"))?.connect_timeout(DEADLINE);
        Ok(Notifier { channel: endpoint.connect().await.with_context(|| format!("no gateway at {target}"))? })
    }

    /// Tells a person of a login, and answers the id of the notification. The key makes a second call harmless.
    pub async fn alert(&self, token: &str, user_id: &str, session: &str) -> anyhow::Result<String> {
        let alert = SendNotificationRequest {
            kind: "login_alert".to_owned(),
            user_id: user_id.to_owned(),
            data: Some(NotificationData {
                title: "A new login".to_owned(),
                message: "Somebody logged in from Firefox on Linux. Was it you?".to_owned(),
                action_url: "/security".to_owned(),
                ..Default::default()
            }),
            address: Some(Address { email: format!("{user_id}@example.org"), ..Default::default() }),
            idempotency_key: format!("login-alert:{user_id}:{session}"),
            ..Default::default()
        };
        let mut service = IngestServiceClient::new(self.channel.clone());
        let answer = service.send_notification(call(token, alert)?).await.map_err(in_words)?;
        Ok(answer.into_inner().notification_id)
    }

    /// A notification that this service sent, with the state of each delivery.
    pub async fn state(&self, token: &str, notification_id: &str) -> anyhow::Result<Notification> {
        let wanted = GetNotificationRequest { notification_id: notification_id.to_owned() };
        let mut service = IngestServiceClient::new(self.channel.clone());
        let answer = service.get_notification(call(token, wanted)?).await.map_err(in_words)?;
        answer.into_inner().notification.context("an answer without a notification")
    }

    /// Ends one session of a person: its sockets close, and its tokens are refused from now on.
    pub async fn end_session(&self, token: &str, user_id: &str, session: &str) -> anyhow::Result<()> {
        let ended = DisconnectRequest {
            user_id: user_id.to_owned(),
            session_id: session.to_owned(),
            keep_tokens: false,
        };
        let mut service = RealtimeServiceClient::new(self.channel.clone());
        service.disconnect(call(token, ended)?).await.map_err(in_words)?;
        Ok(())
    }
}

fn call<T>(token: &str, message: T) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

/// An error with its stable reason, which stands in the details.
fn in_words(status: Status) -> anyhow::Error {
    let details = rpc::Status::decode(status.details()).unwrap_or_default().details;
    let infos = details.iter().filter(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo"));
    let reasons = infos.filter_map(|detail| rpc::ErrorInfo::decode(&detail.value[..]).ok());
    let reason = reasons.map(|info| info.reason).next().unwrap_or_else(|| "no reason".to_owned());
    anyhow!("{:?}, {reason}: {}", status.code(), status.message())
}
