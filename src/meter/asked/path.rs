//! What a path says: Gemini, Bedrock and Azure name the model there.

/// Whether the path asks for a stream.
pub fn is_stream(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    [":streamGenerateContent", ":streamRawPredict", "/converse-stream"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// Whether the path makes vectors of texts, where nothing is written.
pub fn is_embedding(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let ends = ["/api/embed", "/api/embeddings", ":embedContent", ":batchEmbedContents"];
    ends.iter().any(|end| path.ends_with(end))
}

/// The model or deployment that the path names.
pub fn model(path: &str) -> Option<Box<str>> {
    let path = path.split('?').next().unwrap_or_default();
    let behind = |mark: &str| path.rsplit_once(mark).map(|(_, behind)| behind);
    let segment = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    let model = behind("/models/")
        .and_then(|rest| rest.rsplit_once(':'))
        .map(|(model, _)| model.to_owned())
        .or_else(|| behind("/deployments/").map(segment))
        .or_else(|| behind("/model/").map(segment))?;
    let model = decoded(&model)?;
    (!model.is_empty() && model.len() <= 256).then(|| model.into())
}

/// Takes percent-encoding out (RFC 3986, 2.1); `None` if it is wrong.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}
