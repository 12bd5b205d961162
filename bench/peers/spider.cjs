// The crawl by spider, which is written in Rust, through Node: `node spider.cjs URL`.
// How many requests it sends at once is its own affair: its interface has no option for it.
// `scrape` keeps all pages until the end; `crawl`, which tells of each, leaves most of them out.
const fs = require("node:fs");
const { Website } = require("@spider-rs/spider-rs");

async function main(start) {
  const website = new Website(start).withRespectRobotsTxt(true).build();
  await website.scrape();
  const lines = website.getPages().map((page) => {
    const title = /<title[^>]*>([^<]*)/i.exec(page.content)?.[1] ?? "";
    const one = { url: page.url, status: page.statusCode, content_type: "text/html", title };
    return `${JSON.stringify(one)}\n`;
  });
  fs.writeFileSync("pages.jsonl", lines.join(""));
  process.exit(0); // it does not end by itself
}

main(process.argv[2]);
