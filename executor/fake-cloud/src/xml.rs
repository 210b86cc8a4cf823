//! XML as EC2 writes it.

/// An element with text.
pub(crate) fn text(name: &str, value: &str) -> String {
    format!("<{name}>{}</{name}>", escape(value))
}

/// An element with elements.
pub(crate) fn element(name: &str, inner: &[String]) -> String {
    format!("<{name}>{}</{name}>", inner.concat())
}

/// A list: each entry is an `item`.
pub(crate) fn list(name: &str, items: impl IntoIterator<Item = Vec<String>>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| element("item", &item)).collect();
    element(name, &items)
}

/// Tags of a resource.
pub(crate) fn tags<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    list("tagSet", tags.into_iter().map(|(key, value)| vec![text("key", key), text("value", value)]))
}

/// The answer to an action.
pub(crate) fn response(action: &str, request: &str, inner: &[String]) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>{request}</requestId>{}</{action}Response>",
        inner.concat()
    )
}

/// A refusal.
pub(crate) fn refusal(code: &str, message: &str, request: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>{}{}</Error></Errors><RequestID>{request}\
         </RequestID></Response>",
        text("Code", code),
        text("Message", message)
    )
}

fn escape(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
