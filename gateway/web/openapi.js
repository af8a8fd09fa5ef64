// Finds calls and schemas by any words of theirs. Everything else on the page works without it.
const find = document.querySelector("#find")
const entries = [...document.querySelectorAll("details")].map(entry => [entry, entry.textContent.toLowerCase()])
const sections = document.querySelectorAll("section")

find.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\s+/)
  for (const [entry, text] of entries) entry.classList.toggle("away", !words.every(word => text.includes(word)))
  for (const section of sections) {
    section.classList.toggle("away", section.querySelector("details:not(.away)") === null)
  }
})
