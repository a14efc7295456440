//! The pack `stack_traces`: what a crash tells about code, paths and databases.
//!
//! A trace comes as plain lines or inside a JSON string, where the newline is
//! `\n` and the quote `\"`. Patterns with `<eol>` or `<dq>` are compiled once
//! for each spelling (see [`super::expand`]), so that a match in JSON never runs
//! over the closing quote.
//!
//! # Limits
//! What follows the last recognised line of a trace is not part of it.

use super::Secret;
use super::judge::whole;

/// One Python traceback, through its final error and the details of a database below it.
macro_rules! python {
    () => {
        concat!(
            r"Traceback \(most recent call last\):(?:<eol><blank>+<char>*)*",
            r"(?:<eol>(?:[A-Za-z_][\w.]*:<char>*|[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Iteration|Timeout)\b|\w+(?:\.\w+)+)",
            r"(?:<eol>(?:<blank>+|DETAIL:|HINT:|CONTEXT:|QUERY:|LINE [0-9]+:|\[SQL: |\[parameters: |\(Background )<char>*)*)?",
        )
    };
}

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret { pattern: PYTHON, judge: whole },
    Secret { pattern: r"<left>File <dq><inquote>+<dq>, line [0-9]+(?:, in [\w<>.]+)?(?:<eol><blank>+<char>*)*", judge: whole },
    Secret { pattern: FRAMES, judge: whole },
    Secret { pattern: GO, judge: whole },
    Secret { pattern: RUST, judge: whole },
    Secret { pattern: r"<left>[0-9]+: +0x[0-9a-f]+ - <char>*(?:<eol> +at <char>*)?", judge: whole },
    Secret { pattern: RUBY, judge: whole },
    Secret { pattern: r"#[0-9]+ (?:\\?/[^\s\x22:()]*|\[internal function\])(?:\([0-9]+\))?: <char>*(?:<eol>#[0-9]+ <char>*)*", judge: whole },
    Secret { pattern: r"\bin \\?/[^\s\x22:()]*\.php(?: on line |:)[0-9]+", judge: whole },
    Secret { pattern: r"<left>Caused by: [\w.$]+(?:Exception|Error)<line>", judge: whole },
    Secret { pattern: DRIVERS, judge: whole },
    Secret { pattern: r"\[(?:SQL|parameters): (?:[^\]\x22\\]|\\[^\r\n]|\x22[^\r\n\x22\\,}\]:\s])*\]?", judge: whole },
];

const PYTHON: &str = concat!(
    python!(),
    r"(?:(?:<eol>)+(?:During handling of|The above exception)<char>*(?:<eol>)+",
    python!(),
    r")*"
);

/// JavaScript, Java, Kotlin and .NET: an error line, if any, and `at …` lines.
/// The first must name a file and line; those below it are taken as they are.
const FRAMES: &str = concat!(
    r"<left>(?:(?:Exception in thread <char>*|[A-Za-z_$][\w$.]*(?:Error|Exception)\b<char>*)<eol><blank>*)?at (?:",
    r"[\w.$/<>@-]+\((?:[\w$.-]+:[0-9]+|Native Method|Unknown Source|<generated>)\)",
    r"|(?:async |new )*[\w.$<>\[\]#/-]+(?: \[as [\w.$]+\])? \((?:<path>*[/:\\]<path>*:[0-9]+:[0-9]+|<anonymous>|native)\)",
    r"|(?:async )?(?:file://|node:|/|[A-Za-z]:[/\\])<path>*:[0-9]+:[0-9]+",
    r"|[\w.<>`+$,\[\]]+\([^()\r\n\x22\\]*\) in <char>*:line [0-9]+",
    r")(?:<eol><blank>*(?:at |\.\.\. [0-9]+ (?:more|common)|Caused by: |Suppressed: |--- End )<char>*)*",
);

const GO: &str = concat!(
    r"(?:panic: <char>*<eol>(?:\[signal <char>*<eol>)?(?:<eol>)?)?",
    r"goroutine [0-9]+ \[[^\]\r\n\x22\\]+\]:(?:<eol><char>+)*",
);

const RUST: &str = concat!(
    r"<left>thread '[^'\r\n\x22\\]*'(?: \([0-9]+\))? panicked at (?:<char>*:<eol><char>+|<char>*)",
    r"(?:<eol>(?:note: |stack backtrace:|<blank>+)<char>*)*",
);

const RUBY: &str = concat!(
    r"(?:/|<left>)[\w./-]+\.rb:[0-9]+:in [`'][^'\r\n\x22\\]*'<char>*",
    r"(?:<eol><blank>*(?:[0-9]+: )?(?:from )?[\w./-]+\.rb:[0-9]+:in <char>*)*",
);

/// Error texts of database drivers, to the end of the line or of the JSON string.
const DRIVERS: &str = concat!(
    r"(?:\((?:psycopg2?|asyncpg|pymysql|MySQLdb|sqlite3|cx_Oracle|oracledb|pyodbc|mysql\.connector|aiomysql|aiosqlite)\.[\w.]+\)",
    r"|<left>(?:sqlalchemy(?:\.orm)?\.exc|asyncpg\.exceptions(?:\._base)?|psycopg2?(?:\.errors)?|pymongo\.errors|redis\.exceptions",
    r"|pymysql\.err|mysql\.connector\.errors|django\.db\.utils|sqlite3|botocore\.exceptions|kafka\.errors|elasticsearch\.exceptions",
    r"|org\.postgresql\.util|java\.sql|com\.mysql\.cj\.jdbc\.exceptions)\.[A-Z]\w*: ",
    r"|<left>(?:Mongo(?:Server|Network|ServerSelection)Error|Sequelize\w*Error|PrismaClient\w*Error|QueryFailedError): ",
    r"|\bSQLSTATE\[\w+\]|\bORA-[0-9]{5}: |<left>connect ECONNREFUSED |\(Background on this error at: ",
    r"|<left>connection to server at |<left>FATAL:  ?(?:password|role|database|no pg_hba)",
    r")<line>",
);
