//! What a probe says to a server, and how it takes the answer.
//!
//! Each function gets a connection and returns whether the server is ready for
//! work. No password is ever sent: a server that asks for one is there. Who asks
//! sets the deadline; what is read is bounded here.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest answer that is read, in bytes: a status line, a greeting, an error.
const LONGEST: usize = 16 << 10;

/// A GET; ready is any final status below 500.
pub(super) async fn http<S>(stream: &mut S, authority: &str, target: &str) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ask = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: weir-health\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    stream.flush().await?;
    let line = until(stream, b'\n').await?;
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(status.and_then(|digits| digits.parse::<u16>().ok()).is_some_and(|status| status < 500))
}

/// `PING`; a server that wants a password first is ready, one that still loads its data is not.
pub(super) async fn redis<S>(stream: &mut S) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
    stream.flush().await?;
    let line = until(stream, b'\n').await?;
    Ok([&b"+PONG"[..], b"-NOAUTH", b"-NOPERM"].iter().any(|ready| line.starts_with(ready)))
}

/// The start of a session, as `pg_isready` does it: ready is a server that asks for a password,
/// lets us in, or turns down this user; one that starts, stops or is full is not.
pub(super) async fn postgres<S>(stream: &mut S, user: &str, database: &str) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // PostgreSQL, Frontend/Backend Protocol 3.0, StartupMessage.
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for word in ["user", user, "database", database, "application_name", "weir", ""] {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await?;
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await? as usize;
    let rest = take(stream, length.checked_sub(4).ok_or(io::ErrorKind::InvalidData)?).await?;
    match kind {
        // A session has begun, and must be ended; before that, leaving without a word is no fault.
        b'R' if rest == [0; 4] => stream.write_all(b"X\0\0\0\x04").await.map(|()| true),
        b'R' => Ok(true),
        b'E' => Ok(turned_down(&rest)),
        _ => Ok(false),
    }
}

/// Whether an ErrorResponse is about the user or the database (SQLSTATE classes 28 and 3D).
fn turned_down(fields: &[u8]) -> bool {
    let code = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
    code.is_some_and(|code| code.starts_with(b"28") || code.starts_with(b"3D"))
}

/// A login without a password: an interrupted handshake would count against this host and
/// in the end get it blocked (`max_connect_errors`).
pub(super) async fn mysql<S>(stream: &mut S, user: &str) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sequence, greeting) = packet(stream).await?;
    // Protocol version 10; anything else is an error such as "too many connections".
    if greeting.first() != Some(&10) {
        return Ok(false);
    }
    // HandshakeResponse41: protocol 4.1 and "secure connection", 1 MiB packets, utf8, no password.
    let mut login = vec![0x01, 0x82, 0, 0, 0, 0, 0x10, 0, 33];
    login.extend_from_slice(&[0; 23]);
    login.extend_from_slice(user.as_bytes());
    login.extend_from_slice(&[0, 0]);
    send_packet(stream, sequence.wrapping_add(1), &login).await?;
    let (sequence, mut answer) = packet(stream).await?;
    if answer.first() == Some(&0xfe) {
        // Another way to log in is proposed: no password there either.
        send_packet(stream, sequence.wrapping_add(1), &[]).await?;
        (_, answer) = packet(stream).await?;
    }
    match answer.as_slice() {
        [0, ..] => send_packet(stream, 0, &[1]).await.map(|()| true),
        [0xff, low, high, ..] => Ok(!AWAY.contains(&u16::from_le_bytes([*low, *high]))),
        // More data is wanted before it decides: it is there.
        _ => Ok(true),
    }
}

/// Too many connections, shutting down, host blocked, host not allowed.
const AWAY: [u16; 4] = [1040, 1053, 1129, 1130];

async fn packet<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(u8, Vec<u8>)> {
    let [a, b, c, sequence] = stream.read_u32().await?.to_be_bytes();
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    Ok((sequence, take(stream, length).await?))
}

async fn send_packet<S>(stream: &mut S, sequence: u8, body: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let [a, b, c, _] = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
    stream.write_all(&[a, b, c, sequence]).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

async fn take<S: AsyncRead + Unpin>(stream: &mut S, length: usize) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Everything up to `end`, or as much as may be read.
async fn until<S: AsyncRead + Unpin>(stream: &mut S, end: u8) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST && bytes.last() != Some(&end) {
        let mut space = [0; 512];
        let read = stream.read(&mut space).await?;
        if read == 0 {
            break;
        }
        let chunk = &space[..read];
        let stop = chunk.iter().position(|byte| *byte == end).map_or(read, |at| at + 1);
        bytes.extend_from_slice(&chunk[..stop]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says `answers` in turn, each after something was heard, the first at once if `first`.
    async fn serve(
        mut end: tokio::io::DuplexStream,
        first: bool,
        answers: Vec<Vec<u8>>,
    ) -> Vec<u8> {
        let mut heard = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            if index > 0 || !first {
                let mut space = [0; 4096];
                let read = end.read(&mut space).await.expect("a question");
                heard.extend_from_slice(&space[..read]);
            }
            end.write_all(&answer).await.expect("an answer");
        }
        drop(end.shutdown().await);
        let mut rest = Vec::new();
        drop(end.read_to_end(&mut rest).await);
        heard.extend_from_slice(&rest);
        heard
    }

    fn owned(answers: &[&[u8]]) -> Vec<Vec<u8>> {
        answers.iter().map(|answer| answer.to_vec()).collect()
    }

    macro_rules! asked {
        ($first:expr, $answers:expr, |$stream:ident| $speak:expr) => {{
            let answers = owned($answers);
            let (mut here, there) = tokio::io::duplex(64 << 10);
            let ask = async {
                let $stream = &mut here;
                let said = $speak.await;
                drop(here);
                said
            };
            tokio::join!(ask, serve(there, $first, answers))
        }};
    }

    #[tokio::test]
    async fn a_web_server_is_ready_below_500() {
        for (answer, ready) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], true),
            (b"HTTP/1.0 404 Not Found\r\n\r\n", true),
            (b"HTTP/1.1 503 No\r\n\r\n", false),
            (b"SSH-2.0-OpenSSH\r\n", false),
            (b"", false),
        ] {
            let (said, heard) = asked!(false, &[answer], |stream| http(stream, "h", "/x"));
            assert_eq!(said.expect("an answer"), ready, "{answer:?}");
            assert!(heard.starts_with(b"GET /x HTTP/1.1\r\nHost: h\r\n"));
        }
    }

    #[tokio::test]
    async fn a_redis_is_ready_even_if_it_wants_a_password() {
        for (answer, ready) in [
            (&b"+PONG\r\n"[..], true),
            (b"-NOAUTH Authentication required.\r\n", true),
            (b"-LOADING Redis is loading the dataset in memory\r\n", false),
            (b"-MASTERDOWN Link with MASTER is down\r\n", false),
        ] {
            let (said, _) = asked!(false, &[answer], |stream| redis(stream));
            assert_eq!(said.expect("an answer"), ready, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_postgres_is_ready_unless_it_starts_or_is_full() {
        let error = |code: &str| {
            let fields = format!("SFATAL\0C{code}\0Mno\0\0");
            let mut message = vec![b'E'];
            let length = u32::try_from(fields.len() + 4).expect("short");
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(fields.as_bytes());
            message
        };
        for (answer, ready) in [
            (b"R\0\0\0\x08\0\0\0\x03".to_vec(), true),
            (error("28000"), true),
            (error("3D000"), true),
            (error("57P03"), false),
            (error("53300"), false),
        ] {
            let (said, heard) = asked!(false, &[&answer], |stream| postgres(stream, "u", "d"));
            assert_eq!(said.expect("an answer"), ready, "{answer:?}");
            let start = b"\0\0\0\x31\0\x03\0\0user\0u\0database\0d\0application_name\0weir\0\0";
            assert!(heard.starts_with(start), "{heard:?}");
        }
    }

    #[tokio::test]
    async fn a_mysql_handshake_is_never_left_half_way() {
        let greeting = b"\x05\0\0\0\x0a8.0\0";
        let denied = b"\x05\0\0\x02\xff\x15\x04no";
        let (said, heard) = asked!(true, &[greeting, denied], |stream| mysql(stream, "u"));
        assert!(said.expect("an answer"));
        assert_eq!(heard[..5], [35, 0, 0, 1, 1]);
        let other_way = b"\x02\0\0\x02\xfea";
        let (said, heard) =
            asked!(true, &[greeting, other_way, denied], |stream| mysql(stream, "u"));
        assert!(said.expect("an answer"));
        assert!(heard.ends_with(&[0, 0, 0, 3]));
        let full = b"\x05\0\0\0\xff\x10\x04no";
        let (said, _) = asked!(true, &[full], |stream| mysql(stream, "u"));
        assert!(!said.expect("an answer"));
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let endless = vec![b'x'; 60 << 10];
        let (said, _) = asked!(false, &[&endless], |stream| redis(stream));
        assert!(!said.expect("an answer"));
        let (said, _) = asked!(false, &[b"R\xff\xff\xff\xff"], |stream| postgres(stream, "u", "d"));
        assert!(said.is_err());
    }
}
