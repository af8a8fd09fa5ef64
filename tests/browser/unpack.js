// Unpacks the browser that the package brings: node unpack.js <folder>
const { brotliDecompressSync, createBrotliDecompress } = require("node:zlib")
const { createReadStream, createWriteStream, mkdirSync, readFileSync } = require("node:fs")
const { pipeline } = require("node:stream/promises")
const { join } = require("node:path")
const { Readable } = require("node:stream")
const tar = require("tar-fs")

const packed = join(__dirname, "node_modules", "@sparticuz", "chromium", "bin")
const folder = process.argv[2]

async function main() {
  mkdirSync(folder, { recursive: true })
  // The libraries that a bare system lacks, and letters to show.
  for (const name of ["al2023.tar.br", "fonts.tar.br"]) {
    await pipeline(Readable.from(brotliDecompressSync(readFileSync(join(packed, name)))), tar.extract(folder))
  }
  await pipeline(
    createReadStream(join(packed, "chromium.br")),
    createBrotliDecompress(),
    createWriteStream(join(folder, "chromium"), { mode: 0o755 }),
  )
}

main()
