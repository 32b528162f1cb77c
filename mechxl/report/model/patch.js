"use strict";
function mechxlPatch(panel) { // a donor's activation in the question's run: one patch, and the grid of all
  const { about, at, element, word, heated, probability, share, headed } = panel;
  const SHADES = [["the donor's value in the receiver's language", "donor"], ["the donor's value in the donor's language", "foreign"], ["the receiver's own value", "own"]];
  const PARTS = [["z: what it mixes", "z"], ["q: its query", "q"], ["k: its key", "k"], ["v: its value vector", "v"], ["pattern: where it looks", "pattern"]];
  let donor = null, chosen = null, shown = null;
  at("shade").append(...panel.options(SHADES.map(([name]) => name)));
  at("part").append(...panel.options(PARTS.map(([name]) => name)));
  at("donor-relation").append(...panel.options(panel.relationNames));
  at("donor-language").append(...panel.options(about.languages));
  ["shade", "part"].forEach((id) => at(id).addEventListener("change", () => tell(panel.asked())));
  ["donor-entity", "donor-relation", "donor-language"].forEach((id) => at(id).addEventListener("change", function () {
    const language = Number(at("donor-language").value), before = donor ? donor.language : language, name = at("donor-entity").value.trim();
    const entity = panel.entityAt[language].get(name) ?? panel.entityAt[before].get(name);
    if (entity === undefined) { at("patched").textContent = `“${name}” is no entity of this page; pick one of the list.`; return; }
    pick({ entity, relation: Number(at("donor-relation").value), language });
    tell(panel.asked());
  }));
  at("donor-other").addEventListener("click", function () { donor = null; tell(panel.asked()); });

  function pick(q) {
    if (!donor || donor.language !== q.language || !at("donor-entities").children.length) panel.fill(at("donor-entities"), about.names[q.language]);
    donor = q;
    at("donor-entity").value = about.names[q.language][q.entity];
    at("donor-relation").value = String(q.relation);
    at("donor-language").value = String(q.language);
  }
  const answersRightly = function (q) {
    const found = panel.ask(panel.model(), panel.prompt(panel.sentence(q)).ids, q);
    return found.greedy === panel.rightWord(q, q.language);
  };
  // A fact of the receiver's relation with another value, told in another language and answered rightly there, as the
  // pairs of the question patching are; as near to that as there is.
  function drawn(q) {
    const language = donor ? donor.language : (q.language + 1) % panel.nLanguages, valueOf = (fact) => about.value[language][fact];
    const others = about.value[0].map((_, fact) => fact).filter((fact) => fact % panel.nRelations === q.relation && valueOf(fact) >= 0 && Math.floor(fact / panel.nRelations) !== q.entity);
    const apart = others.filter((fact) => valueOf(fact) !== about.value[q.language][panel.factOf(q)]), told = apart.filter((fact) => about.told[fact] >> language & 1);
    const among = [told, apart, others].find((some) => some.length);
    if (!among) return null;
    const tries = Array.from({ length: 20 }, () => panel.questionOf(panel.anyOf(among), language));
    return tries.find(answersRightly) || tries[0];
  }
  // Positions that correspond: tokens of the same word (tag, name, relation) at the same place, or first and last if the
  // words have different numbers of tokens.
  function positions(from, to, one, other) {
    const kinds = (q, read) => {
      const tagged = read.places[read.places.length - 1].word === 2, order = about.relation_first[q.language] ? ["relation", "name"] : ["name", "relation"];
      return [...(tagged ? ["cue"] : []), ...order];
    };
    const a = kinds(one, from), b = kinds(other, to), found = [];
    b.forEach(function (kind, word) {
      const own = to.places.map((place, at) => [place, at]).filter(([place]) => place.word === word).map(([, at]) => at);
      const theirs = from.places.map((place, at) => [place, at]).filter(([place]) => place.word === a.indexOf(kind)).map(([, at]) => at);
      if (!theirs.length) return;
      const both = own.length === theirs.length ? own.map((at, place) => [theirs[place], at, own.length > 1 ? ` ${place + 1}` : ""]) : [[theirs[0], own[0], " first"], [theirs[theirs.length - 1], own[own.length - 1], " last"]];
      both.forEach(([donorAt, receiverAt, place]) => found.push({ donor: donorAt, receiver: receiverAt, name: `${kind}${place}` }));
    });
    return found.sort((x, y) => x.receiver - y.receiver);
  }
  function components(sameLength) {
    const part = PARTS[Number(at("part").value)][1], rows = [{ name: "embeddings (layer 0)", component: "resid_pre", block: 0, head: null }];
    for (let block = 0; block < about.layers; block++) {
      for (let head = 0; head < about.heads; head++) if (part !== "pattern" || sameLength) rows.push({ name: `L${block}H${head} ${part} (layer ${block + 1})`, component: part, block, head });
      rows.push({ name: `attention output, layer ${block + 1}`, component: "attn_out", block, head: null });
      rows.push({ name: `MLP output, layer ${block + 1}`, component: "mlp_out", block, head: null });
      rows.push({ name: `residual stream, layer ${block + 1}`, component: "resid_post", block, head: null });
    }
    return rows;
  }

  function outcome(text, q) {
    const donorsValue = about.value[donor.language][panel.factOf(donor)], meanings = (panel.values.get(text) || []).filter((one) => one.relation === donor.relation && one.value === donorsValue);
    if (meanings.some((one) => one.language === q.language)) return "the donor's value, in the receiver's language";
    if (meanings.some((one) => one.language === donor.language)) return "the donor's value, in the donor's language";
    if (text === panel.rightWord(q, q.language)) return "the receiver's own value";
    return text === null ? "no value word" : "neither the donor's value nor the receiver's";
  }
  function words(q) { // the words that matter: donor's value in both languages, the receiver's own
    const value = about.value[donor.language][panel.factOf(donor)], of = (language) => value < 0 ? null : about.values[donor.relation][value][language];
    return { donor: of(q.language), foreign: of(donor.language), own: panel.rightWord(q, q.language) };
  }
  function patchedAnswers(place) { // answers after one patch, with every word that matters followed
    const ran = mechxlModel.patched(panel.model(), shown.receiver, shown.donor, place);
    return mechxlModel.answers(panel.model(), ran, panel.trie, shown.always, 1e-3);
  }
  function tellOne() {
    const { q, words: w, asked } = shown, after = patchedAnswers(chosen), before = asked.found;
    const p = after.greedy === null ? null : after.words.get(after.greedy), same = after.greedy === before.greedy;
    at("patched").replaceChildren(`With the donor's ${chosen.name}, at the position ${chosen.position}, the model answers `, ...(after.greedy === null ? ["no value word"] : [word(after.greedy), ` (probability ${probability(p)})`]), `: ${outcome(after.greedy, q)}. Without the patch it answers `, ...(before.greedy === null ? ["no value word"] : [same ? "the same" : word(before.greedy)]), ".");
    const means = new Map([[w.own, "the receiver's own value"], [w.foreign, "the donor's value, donor's language"], [w.donor, "the donor's value, receiver's language"]]);
    const likely = [...after.words].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([text]) => text);
    const rows = [...new Set([...means.keys(), before.greedy, ...likely])].filter((text) => text !== null).map(function (text) {
      return element("tr", [element("td", word(text)), element("td", means.get(text) || panel.meaning(text, q)), share(before.words.get(text) || 0), share(after.words.get(text) || 0)], { className: text === w.own ? "is-right" : means.has(text) ? "is-other" : "is-wrong" });
    });
    headed(at("before-after"), ["answer", "what it is", "before", "after the patch"], rows);
  }
  function key(event) { // arrow keys move within the grid, which is one stop of the Tab key
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key], cell = event.target.closest("td");
    if (!move || !cell) return;
    event.preventDefault();
    const row = cell.parentNode, rows = [...row.parentNode.children], next = rows[rows.indexOf(row) + move[0]];
    const to = next && next.children[[...row.children].indexOf(cell) + move[1]], button = to && to.querySelector("button");
    if (!button) return;
    at("grid").querySelectorAll("button").forEach((one) => { one.tabIndex = -1; });
    button.tabIndex = 0;
    button.focus();
  }
  at("grid").addEventListener("keydown", key);

  function tellGrid() {
    const columns = positions(shown.donorRead, shown.asked.read, donor, shown.q), shade = SHADES[Number(at("shade").value)][1], wanted = shown.words[shade];
    const rows = components(shown.donorRead.ids.length === shown.asked.read.ids.length), keep = chosen;
    let first = null, best = null;
    const body = rows.map(function (row) {
      const cells = columns.map(function (column) {
        const place = { component: row.component, block: row.block, head: row.head, donor: column.donor, receiver: column.receiver, name: row.name, position: column.name };
        const p = patchedAnswers(place).words.get(wanted) || 0;
        const button = heated(element("button", String(Math.round(100 * p)), { type: "button", tabIndex: -1 }), p);
        button.setAttribute("aria-label", `${row.name}, ${column.name}: ${Math.round(100 * p)} percent`);
        button.setAttribute("aria-pressed", "false");
        button.addEventListener("click", function () {
          chosen = place;
          at("grid").querySelectorAll("button").forEach((one) => { one.setAttribute("aria-pressed", String(one === button)); one.tabIndex = one === button ? 0 : -1; });
          tellOne();
        });
        first = first || { button, place };
        if (keep && keep.component === place.component && keep.block === place.block && keep.head === place.head && (keep.position === place.position || !keep.position)) best = { button, place };
        const cell = element("td", button);
        cell.setAttribute("role", "gridcell");
        return cell;
      });
      const line = element("tr", [element("th", row.name, { scope: "row" }), ...cells]);
      line.setAttribute("role", "row");
      line.firstChild.setAttribute("role", "rowheader");
      return line;
    });
    const piece = (ids, place) => panel.pieces([ids[place]])[0];
    const head = element("tr", [element("th", "component", { scope: "col" }), ...columns.map((column) => element("th", [column.name, element("small", [word(piece(shown.donorRead.ids, column.donor)), " → ", word(piece(shown.asked.read.ids, column.receiver))])], { scope: "col" }))]);
    head.setAttribute("role", "row");
    [...head.children].forEach((one) => one.setAttribute("role", "columnheader"));
    const groups = [element("thead", head), element("tbody", body)];
    groups.forEach((one) => one.setAttribute("role", "rowgroup"));
    at("grid").replaceChildren(...groups);
    const begin = best || first;
    if (!begin) return;
    chosen = begin.place;
    begin.button.tabIndex = 0;
    begin.button.setAttribute("aria-pressed", "true");
    tellOne();
  }
  function tell(asked) {
    const q = panel.question(), clear = (text) => { at("patched").textContent = text; at("grid").replaceChildren(); at("before-after").replaceChildren(); };
    if (!asked || !q || panel.rightWord(q, q.language) === null) return clear("The receiver must be a fact that has a right answer: pick an entity, a relation and a language above.");
    if (!donor || panel.factOf(donor) === panel.factOf(q)) {
      const other = drawn(q);
      if (!other) return clear("There is no second fact of this relation to patch from.");
      pick(other);
    }
    const donorRead = panel.prompt(panel.sentence(donor)), own = words(q);
    if (own.donor === null) return clear("This donor has no value: its entity is in no training sentence. Pick another.");
    if (own.donor === own.own) return clear("Donor and receiver have the same value, so the answer can't tell them apart. Pick another donor.");
    const model = panel.model(), always = new Set(Object.values(own).filter((text) => text !== null));
    shown = { q, asked, donorRead, words: own, always, receiver: mechxlModel.run(model, asked.read.ids), donor: mechxlModel.run(model, donorRead.ids) };
    chosen = chosen || { component: "attn_out", block: 0, head: null, position: "" };
    return tellGrid();
  }
  return { tell };
}
