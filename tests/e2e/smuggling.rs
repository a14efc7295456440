//! A corpus of HTTP/1 messages that readers are known to disagree about.
//!
//! From the public record: RFC 9112 (11.2), the papers on CL.TE, TE.CL, TE.0, CL.0 and TERM.EXT,
//! and the CVEs that `reliability` names. Each must be answered with one 400, and what is sent
//! behind it must never be read as a request.

/// A name and a message; what follows it on the connection is the poison.
pub fn corpus() -> Vec<(&'static str, String)> {
    let mut all: Vec<(&str, String)> = Vec::new();
    let field = |field: &str| format!("POST /x HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
    let fields: [(&str, &str); 48] = [
        ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 6"),
        ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("TE.TE identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("TE x", "Transfer-Encoding: xchunked"),
        ("TE list", "Transfer-Encoding: gzip, chunked"),
        ("TE list behind", "Transfer-Encoding: chunked, gzip"),
        ("TE doubled in a list", "Transfer-Encoding: chunked, chunked"),
        ("TE empty element", "Transfer-Encoding: ,chunked"),
        ("TE quoted", "Transfer-Encoding: \"chunked\""),
        ("TE quoted once", "Transfer-Encoding: 'chunked'"),
        ("TE parameter", "Transfer-Encoding: chunked;a=b"),
        ("TE VT", "Transfer-Encoding: \x0bchunked"),
        ("TE FF", "Transfer-Encoding: chunked\x0c"),
        ("TE NUL", "Transfer-Encoding: chunked\0"),
        ("TE no-break space", "Transfer-Encoding: chunked\u{a0}"),
        ("TE empty", "Transfer-Encoding:"),
        ("TE identity", "Transfer-Encoding: identity"),
        ("TE blank before the colon", "Transfer-Encoding : chunked"),
        ("TE tab before the colon", "Transfer-Encoding\t: chunked"),
        ("TE folded", "Transfer-Encoding:\r\n chunked"),
        ("TE folded behind another", "X-Other: y\r\n Transfer-Encoding: chunked"),
        ("TE behind a bare LF", "X-Other: y\nTransfer-Encoding: chunked"),
        ("TE behind a bare CR", "X-Other: y\rTransfer-Encoding: chunked"),
        ("TE name with NUL", "Transfer\0-Encoding: chunked"),
        ("CL twice", "Content-Length: 4\r\nContent-Length: 40"),
        ("CL twice the same", "Content-Length: 4\r\nContent-Length: 4"),
        ("CL list", "Content-Length: 4, 4"),
        ("CL plus", "Content-Length: +4"),
        ("CL minus", "Content-Length: -4"),
        ("CL hex", "Content-Length: 0x4"),
        ("CL blank inside", "Content-Length: 4 0"),
        ("CL comma", "Content-Length: 4,"),
        ("CL decimal point", "Content-Length: 4.0"),
        ("CL underscore", "Content-Length: 4_0"),
        ("CL empty", "Content-Length:"),
        ("CL over 64 bits", "Content-Length: 18446744073709551620"),
        ("CL over 63 bits", "Content-Length: 9223372036854775812"),
        ("CL Arabic digit", "Content-Length: \u{664}"),
        ("CL blank before the colon", "Content-Length : 4"),
        ("CL folded", "Content-Length:\r\n 4"),
        ("Connection takes CL", "Connection: content-length\r\nContent-Length: 4"),
        (
            "Connection takes TE",
            "Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked",
        ),
        ("no colon", "X-Other"),
        ("no name", ": y"),
        ("name with a parenthesis", "X(: y"),
        ("value with DEL", "X-Other: \x7f"),
        ("Upgrade with a body", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4"),
    ];
    all.extend(fields.iter().map(|(name, text)| (*name, field(text))));
    let lines: [(&str, &str); 19] = [
        ("HTTP/0.9", "GET /x"),
        ("HTTP/1.0 with TE", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked"),
        ("HTTP/1.2", "GET /x HTTP/1.2"),
        ("HTTP/3.0", "GET /x HTTP/3.0"),
        ("version in small letters", "GET /x http/1.1"),
        ("version with a blank", "GET /x HTTP/1.1 "),
        ("version with more", "GET /x HTTP/1.1x"),
        ("two blanks", "GET  /x HTTP/1.1"),
        ("tab", "GET\t/x HTTP/1.1"),
        ("blank in the target", "GET /x y HTTP/1.1"),
        ("NUL in the target", "GET /x\0 HTTP/1.1"),
        ("fragment", "GET /x#y HTTP/1.1"),
        ("no slash", "GET x HTTP/1.1"),
        ("star for GET", "GET * HTTP/1.1"),
        ("authority for GET", "GET a:80 HTTP/1.1"),
        ("another scheme", "GET ftp://a/x HTTP/1.1"),
        ("bare LF", "GET /x HTTP/1.1\nX: y"),
        ("bare CR", "GET /x HTTP/1.1\rX: y"),
        ("method with a colon", "GET: /x HTTP/1.1"),
    ];
    all.extend(lines.iter().map(|(name, line)| (*name, format!("{line}\r\nhost: a\r\n\r\n"))));
    let chunked = "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let bodies: [(&str, &str); 21] = [
        ("chunk size empty", "\r\nhello\r\n0\r\n\r\n"),
        ("chunk size over 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("chunk size negative", "-5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size blank before", " 5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size blank behind", "5 \r\nhello\r\n0\r\n\r\n"),
        ("chunk size underscore", "5_0\r\nhello\r\n0\r\n\r\n"),
        ("chunk size bare LF", "5\nhello\r\n0\r\n\r\n"),
        ("chunk size bare CR", "5\rhello\r\n0\r\n\r\n"),
        ("TERM.EXT", "5;\nhello\r\n0\r\n\r\n"),
        ("EXT.TERM", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("extension with a quoted CRLF", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
        ("chunk longer than said", "5\r\nhelloX\r\n0\r\n\r\n"),
        ("chunk ends with LF", "5\r\nhello\n0\r\n\r\n"),
        ("chunk ends with CR", "5\r\nhello\r0\r\n\r\n"),
        ("chunk ends with XX", "5\r\nhelloXX0\r\n\r\n"),
        ("last chunk with LF", "5\r\nhello\r\n0\n\n"),
        ("trailer without a colon", "0\r\nx\r\n\r\n"),
        ("trailer folded", "0\r\nx: y\r\n z\r\n\r\n"),
        ("trailers end with LF", "0\r\nx: y\r\n\n"),
    ];
    all.extend(bodies.iter().map(|(name, body)| (*name, format!("{chunked}{body}"))));
    all
}

/// A name, a message that is sound, and its body.
pub fn sound() -> Vec<(&'static str, String, &'static str)> {
    let post = |rest: &str| format!("POST /x HTTP/1.1\r\nhost: a\r\n{rest}");
    vec![
        (
            "GET with a body",
            "GET /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi".into(),
            "hi",
        ),
        ("an empty line first", format!("\r\n{}", post("content-length: 2\r\n\r\nhi")), "hi"),
        ("zeros before a length", post("content-length: 0002\r\n\r\nhi"), "hi"),
        ("Chunked", post("Transfer-Encoding:  Chunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "hi"),
        (
            "extensions",
            post("transfer-encoding: chunked\r\n\r\n2;a=\"b\\\"c\";d\r\nhi\r\n000;e\r\n\r\n"),
            "hi",
        ),
        (
            "trailers",
            post("transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nhost: b\r\n\r\n"),
            "hi",
        ),
        ("an absolute target", "GET http://a/x HTTP/1.1\r\nhost: a\r\n\r\n".into(), ""),
    ]
}
