-- What pandoc does not know how to print: boxes, room to write, links on paper, pictures.
-- `chapters` in the metadata is "book" where all chapters are in one document.

local addresses = {} -- those to print at the end, in order
local printed = {} -- whether a link target is among them
local in_book = false
local suffix = ""
local paper = FORMAT == "typst"

local function typst(text)
  return pandoc.RawBlock("typst", text)
end

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("\n", "\\n") .. '"'
end

-- Short enough to be typed: the command pages of Redis have a short address as well.
local function short(address)
  address = address:gsub("^https?://", ""):gsub("^www%.", "")
  address = address:gsub("^redis%.io/docs/latest/commands/", "redis.io/commands/")
  return (address:gsub("/$", ""))
end

function Meta(meta)
  in_book = pandoc.utils.stringify(meta.chapters or "") == "book"
  suffix = pandoc.utils.stringify(meta.suffix or "")
end

function Link(link)
  local number = link.target:match("^(%d%d)_[%w_]+%.ipynb$")
  if number then
    if in_book then
      link.target = "#chapter-" .. number
    elseif paper then
      local text = pandoc.utils.stringify(link.content)
      if text:find("[Cc]hapter " .. number) then
        return link.content
      end
      return link.content .. { pandoc.Str(" (chapter " .. number .. ")") }
    else
      link.target = link.target:gsub("%.ipynb$", "-" .. suffix .. ".html")
    end
    return link
  end
  if not link.target:match("^https?://") and not link.target:match("^#") then
    return link.content -- files of the repository are not part of a handout
  end
  if not paper or not link.target:match("^https?://") or printed[link.target] then
    return link
  end
  printed[link.target] = true
  table.insert(addresses, short(link.target))
  return { link, pandoc.Superscript({ pandoc.Str(tostring(#addresses)) }) }
end

-- At the end instead of in footnotes: typst sometimes sets a footnote on the next page.
function Pandoc(document)
  if #addresses > 0 then
    local each = {}
    for i, address in ipairs(addresses) do
      each[i] = quoted(address)
    end
    document.blocks:insert(typst("#addresses((" .. table.concat(each, ", ") .. ",))"))
  end
  return document
end

function Image(image)
  if not paper then
    return image
  end
  local alt = pandoc.utils.stringify(image.caption)
  return pandoc.RawInline(
    "typst", "#picture(" .. quoted(image.src) .. ", " .. quoted(alt) .. ")"
  )
end

function CodeBlock(block)
  if paper and block.classes[1] == "output" then
    return typst("#output(" .. quoted(block.text) .. ")")
  end
end

-- Columns as wide as their content, aligned to the left.
function Table(t)
  for i in ipairs(t.colspecs) do
    t.colspecs[i] = { pandoc.AlignLeft, nil }
  end
  return t
end

function Div(div)
  local kind = div.classes[1]
  if kind == "sketch" and paper then
    return { typst("#sketch[") } .. div.content .. { typst("]") }
  end
  if kind == "room" then
    local lines = tonumber(div.attributes.lines)
    if paper then
      local room = { typst("#room(" .. lines .. ")[") }
      return room .. div.content .. { typst("]") }
    end
    div.attributes = {}
    for _ = 1, lines do
      div.content:insert(pandoc.RawBlock("html", '<div class="line"></div>'))
    end
    return div
  end
  if paper and (kind == "task" or kind == "answer") then
    return { typst("#" .. kind .. "[") } .. div.content .. { typst("]") }
  end
end

local function is_a(block, kind)
  return block ~= nil and block.t == "Div" and block.classes[1] == kind
end

local function asks(block)
  return block ~= nil and block.t == "CodeBlock" and block.text:match("^predict%(") ~= nil
end

-- Whether a block stays on the page with the one that follows it.
local function is_kept(block, following, before)
  if following == nil then
    return false
  end
  if block.t == "Para" then
    -- A text that ends with a colon or a question mark, or that comes before its subject.
    local announces = following.t ~= "Para" and following.t ~= "Header"
      and pandoc.utils.stringify(block):match("[:?]$")
    local is_all = before ~= nil and before.t == "Header" and following.t == "Header"
    local about = is_all or following.t == "Table" or following.t == "BulletList" or asks(following)
      or is_a(following, "task") or is_a(following, "room")
    return announces or about
  end
  if block.t == "CodeBlock" then -- with room below it for a sketch or an explanation
    return is_a(following, "sketch") or is_a(following, "room")
  end
  if is_a(block, "room") then -- one of several answers
    return is_a(following, "room")
  end
  return is_a(block, "task") and (is_a(following, "room") or following.t == "CodeBlock")
end

-- Items that are read together: a few lines, or the questions for the end.
local function is_short(list)
  return (list.t == "BulletList" or list.t == "OrderedList") and #list.content <= 10
    and #pandoc.utils.stringify(list) < 1500
end

-- What announces code or a table stays on the page with it.
function Blocks(blocks)
  if not paper then
    return blocks
  end
  -- The marks around the generated parts of a page are HTML, and not printed.
  blocks = blocks:filter(function(block)
    return block.t ~= "RawBlock" or block.format ~= "html"
  end)
  local kept = pandoc.Blocks({})
  for i, block in ipairs(blocks) do
    if is_kept(block, blocks[i + 1], blocks[i - 1]) then
      kept:extend({ typst("#keep["), block, typst("]") })
    elseif is_short(block) then
      kept:extend({ typst("#whole["), block, typst("]") })
    else
      kept:insert(block)
    end
  end
  return kept
end

-- The links of a chapter are numbered anew: the order of the filters is that of the document.
return { { Meta = Meta }, { Blocks = Blocks }, { Link = Link, Image = Image, CodeBlock = CodeBlock, Table = Table, Div = Div }, { Pandoc = Pandoc } }
